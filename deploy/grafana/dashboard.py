"""Writes the board for Grafana, dashboards/audio-extract.json: `make docs`.

Built with Grafana's own library of types, so that it is what Grafana reads. Tests compare the file with what
this makes, and each query with the metrics that exist. Rates are over the board's `$__rate_interval`, except
where a panel's title says another time.
"""

from __future__ import annotations

import itertools
import json
import string
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DatasourceVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)

TARGET = Path(__file__).parent / "dashboards" / "audio-extract.json"

_RULES = Path(__file__).parents[1] / "prometheus" / "alerts.yml"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_JOB = 'job="audio-extract"'
_WIDTH, _STATS, _HEIGHT = 24, 6, 8


def metric(name: str, *matchers: str) -> str:
    """Return a selector of one of our metrics."""
    return f"audio_extract_{name}{{{','.join((_JOB, *matchers))}}}"


def rate(name: str, by: str = "", *matchers: str) -> str:
    """Return what all processes counted, for each second."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric(name, *matchers)}[$__rate_interval]))"


def increase(name: str, by: str = "", *matchers: str, over: str = "$__rate_interval") -> str:
    """Return how often something happened, in all processes."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (increase({metric(name, *matchers)}[{over}]))"


def quantile(part: float, name: str) -> str:
    """Return a histogram's quantile over all processes."""
    return f"histogram_quantile({part}, sum by (le) (rate({metric(f'{name}_bucket')}[$__rate_interval])))"


def since(name: str) -> str:
    """Return how long ago a moment was that the database knows; nothing when it never was."""
    return f"time() - (max({metric(name)}) > 0)"


def stat(
    title: str, query: str, *, unit: str = "short", steps: tuple[tuple[float | None, str], ...], text: str
) -> Stat:
    """Return one number, coloured by its steps."""
    thresholds = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
    return (
        Stat()
        .title(title)
        .description(text)
        .datasource(_SOURCE)
        .with_target(Dataquery().expr(query).ref_id("A").instant())
        .unit(unit)
        .thresholds(thresholds.steps([Threshold(value, color) for value, color in steps]))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("–")
        .height(4)
        .span(_WIDTH // _STATS)
    )


def lines(
    title: str,
    *queries: tuple[str, str],
    text: str,
    unit: str = "short",
    exemplars: bool = False,
    stacked: bool = False,
    columns: int = 3,
) -> Timeseries:
    """Return lines over time.

    Args:
        title: Of the panel.
        queries: Each with the name of its lines.
        text: What it says, and what to look for.
        unit: As Grafana names it.
        exemplars: Show traces of single transfers as dots.
        stacked: One above the other.
        columns: Panels that stand side by side.
    """
    panel = (
        Timeseries()
        .title(title)
        .description(text)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(30 if stacked else 5)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .height(_HEIGHT)
        .span(_WIDTH // columns)
    )
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    for letter, (query, legend) in zip(string.ascii_uppercase, queries, strict=False):
        panel = panel.with_target(
            Dataquery().expr(query).legend_format(legend).ref_id(letter).range().exemplar(exemplars)
        )
    return panel


QUARANTINED = 'state="quarantined"'
GOOD, WARNING, BAD = "green", "orange", "red"


def alerts() -> list[str]:
    """Return the names of our alerts."""
    groups = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def board() -> Dashboard:
    """Return the board."""
    names = "|".join(alerts())
    made = (
        Dashboard("audio-extract")
        .uid("audio-extract")
        .description("From recordings in Drive to audio in Cloud Storage. Metrics: docs/telemetry.md.")
        .tags(["audio-extract"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .annotation(
            AnnotationQuery()
            .name("Alerts")
            .datasource(_SOURCE)
            .enable(True)
            .icon_color("red")
            .expr(f'ALERTS{{alertstate="firing",alertname=~"{names}"}}')
        )
    )
    numbers = itertools.count(1)
    for title, panels in (
        ("Now", _now()),
        ("Objectives: 99.9 %", _objectives()),
        ("Transfers", _transfers()),
        ("Bytes and requests", _bytes()),
        ("Finding recordings", _finding()),
        ("Parts", _parts()),
    ):
        made = made.with_row(Row(title).id(next(numbers)))
        for panel in panels:
            made = made.with_panel(panel.id(next(numbers)))
    return made


def _now() -> list[Stat]:
    waiting = metric("queue_depth", 'state=~"pending|in_progress|failed"')
    ended = 'status=~"completed|failed|quarantined"'
    bad = increase("files_processed_total", "", 'status=~"failed|quarantined"', over="24h")
    return [
        stat(
            "Can store",
            f"max({metric('up')}) or vector(0)",
            unit="bool_yes_no",
            steps=((None, BAD), (1, GOOD)),
            text="Database, FFmpeg and destination answer in at least one replica.",
        ),
        stat(
            "Waiting",
            f"sum(max by (state) ({waiting}))",
            steps=((None, GOOD), (20, WARNING)),
            text="Recordings that are due, under way, or tried again later.",
        ),
        stat(
            "Given up",
            f"max({metric('queue_depth', QUARANTINED)})",
            steps=((None, GOOD), (1, WARNING)),
            text="Recordings that wait for a person: audio-extract list --failed.",
        ),
        stat(
            "Stored in 24 h",
            increase("files_processed_total", "", 'status="completed"', over="24h"),
            steps=((None, GOOD),),
            text="Recordings.",
        ),
        stat(
            "Failed in 24 h",
            f"{bad} / {increase('files_processed_total', '', ended, over='24h')}",
            unit="percentunit",
            steps=((None, GOOD), (0.05, WARNING), (0.2, BAD)),
            text="Share of the transfers that ended.",
        ),
        stat(
            "Last look",
            since("last_discovery_timestamp_seconds"),
            unit="s",
            steps=((None, GOOD), (900, WARNING), (1800, BAD)),
            text="Since every source was last looked at with success.",
        ),
    ]


def _objectives() -> list[Timeseries]:
    windows = ("1h", "6h", "3d")
    return [
        lines(
            "Not available",
            *((f"audio_extract:unavailable:ratio_{window}", window) for window in windows),
            unit="percentunit",
            text="Share of the time in which no replica could store, or discovery was stale. Budget: 0.1 %.",
        ),
        lines(
            "Stored late or given up",
            *((f"audio_extract:late:ratio_{window}", window) for window in windows),
            unit="percentunit",
            text="Share of the recordings that were not stored within ten minutes. The budget is 0.1 %.",
        ),
        lines(
            "From available to stored",
            *((quantile(part, "time_to_stored_seconds"), name) for part, name in _QUANTILES),
            unit="s",
            exemplars=True,
            text="What ten minutes are promised for. Dots lead to traces.",
        ),
    ]


_QUANTILES = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))


def _transfers() -> list[Timeseries]:
    return [
        lines(
            "Ended",
            (increase("files_processed_total", "status"), "{{status}}"),
            stacked=True,
            text="Transfers, by how they ended. pending: stopped and due again; lost: another worker had it.",
        ),
        lines(
            "Duration",
            *((quantile(part, "processing_duration_seconds"), name) for part, name in _QUANTILES),
            unit="s",
            exemplars=True,
            text="From claim to record. Dots lead to traces.",
        ),
        lines(
            "Running", (f"sum({metric('active_downloads')})", "transfers"), text="In all replicas together."
        ),
        lines(
            "Failures",
            (increase("failures_total", "kind"), "{{kind}}"),
            stacked=True,
            text="By what has to be done: transient goes away, quota waits, media is the recording's own.",
        ),
        lines(
            "Given up",
            (increase("quarantined_total", "kind"), "{{kind}}"),
            stacked=True,
            text="Recordings that wait for a person, by the same kinds.",
        ),
        lines(
            "Sound for each second",
            (rate("audio_seconds_total"), "seconds of sound"),
            text="Length of the audio that was stored, for each second of time.",
        ),
    ]


def _bytes() -> list[Timeseries]:
    return [
        lines(
            "Bytes",
            (rate("source_bytes_total"), "recordings"),
            (rate("fetched_bytes_total"), "fetched"),
            (rate("stored_bytes_total"), "stored"),
            unit="Bps",
            text="Size of what was stored, what was fetched of it, and the audio that it became.",
        ),
        lines(
            "Requests",
            (rate("requests_total", "service, outcome"), "{{service}} {{outcome}}"),
            unit="reqps",
            text="To Drive and Cloud Storage.",
        ),
        lines(
            "Tried again",
            (rate("retries_total", "service, reason"), "{{service}} {{reason}}"),
            unit="reqps",
            text="rate_limited and quota_exceeded: Google asks to slow down.",
        ),
    ]


def _finding() -> list[Timeseries]:
    return [
        lines(
            "Recordings",
            (f"max by (state) ({metric('queue_depth')})", "{{state}}"),
            text="In each state, as the database has them.",
        ),
        lines(
            "Found",
            (increase("recordings_found_total", "source"), "{{source}}"),
            stacked=True,
            text="Recordings that are new or changed.",
        ),
        lines(
            "Looks",
            (increase("discoveries_total", "source, result"), "{{source}} {{result}}"),
            stacked=True,
            text="At each source.",
        ),
        lines(
            "Since the last look",
            (since("last_discovery_timestamp_seconds"), "last look"),
            (f"max({metric('discovery_interval_seconds')})", "interval"),
            unit="s",
            columns=2,
            text="Above three intervals and five minutes it is stale.",
        ),
        lines(
            "Since something was found, and stored",
            (since("last_found_timestamp_seconds"), "found"),
            (since("last_stored_timestamp_seconds"), "stored"),
            unit="s",
            columns=2,
            text="Stored long after found, while recordings wait: nothing moves.",
        ),
    ]


def _parts() -> list[Timeseries]:
    disk = "by (instance, folder)"
    return [
        lines(
            "Healthy",
            (f"min by (component) ({metric('component_healthy')})", "{{component}}"),
            text="1: healthy in every replica.",
        ),
        lines(
            "Probes",
            (rate("probes_total", "probe, result"), "{{probe}} {{result}}"),
            unit="reqps",
            text="What was answered to whoever supervises the service.",
        ),
        lines(
            "Space left",
            (
                f"min {disk} ({metric('disk_free_bytes')}) / max {disk} ({metric('disk_size_bytes')})",
                "{{instance}} {{folder}}",
            ),
            unit="percentunit",
            text="On the disks of the temporary folder and of the database.",
        ),
        lines(
            "Telemetry sent",
            (increase("telemetry_exports_total", "signal, result"), "{{signal}} {{result}}"),
            columns=2,
            text="Batches of traces and metrics.",
        ),
        lines(
            "Versions",
            (
                f"count by (version, engine, python) ({metric('build_info')})",
                "{{version}} · Python {{python}}",
            ),
            columns=2,
            text="Processes of each version.",
        ),
    ]


def text() -> str:
    """Return the board as the file holds it."""
    return json.dumps(board().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
