"""What Prometheus itself makes of the running service, and of the rules that ship with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from audio_extract.cli.serving import web_server
from audio_extract.telemetry.metrics import LABELS, Metrics
from support.engine import make_recording
from support.service import world

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
BOARD = DEPLOY / "grafana" / "dashboards" / "audio-extract.json"


@pytest.fixture
def prometheus() -> Path:
    """The system's Prometheus, or the one that `make test-tools` unpacked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "audio-extract-ci" / "tools"
    unpacked = Path(os.environ.get("TOOLS_DIR") or cache) / "prometheus" / "usr" / "bin" / "prometheus"
    found = shutil.which("prometheus") or (str(unpacked) if unpacked.exists() else None)
    if found is None:
        message = "prometheus is not there (make test-tools)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


@contextmanager
def scraping(program: Path, folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes a target every 200 ms, with the rules; yields its address."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    document["global"] = {
        "scrape_interval": "200ms",
        "scrape_timeout": "200ms",
        "evaluation_interval": "200ms",
    }
    document["rule_files"] = [str(RULES)]
    document["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--enable-feature=exemplar-storage",
        "--web.listen-address=127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr is not None
            port = next(
                found[1]
                for line in child.stderr
                if (found := re.search(r"Listening on\"? address=127\.0\.0\.1:(\d+)", line))
            )
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.communicate(timeout=20)


def until(url: str, query: str, wanted: float) -> list[dict[str, Any]]:
    """What a query answers once it answers what is wanted."""
    end = time.monotonic() + 30
    rows: list[dict[str, Any]] = []
    while time.monotonic() < end:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": query})
        rows = answer.json().get("data", {}).get("result", [])
        if rows and float(rows[0]["value"][1]) == wanted:
            return rows
        time.sleep(0.1)
    raise AssertionError(f"{query}: {rows}")


def queries_of_the_board() -> list[tuple[str, str]]:
    """Each query of the board with row and title of its panel, as Grafana sends it."""
    row, found = "", []
    for panel in json.loads(BOARD.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", ()):
            name = " ".join((f"{row}: {panel['title']}", target.get("legendFormat", ""))).strip()
            found.append((name, target["expr"].replace("$__rate_interval", "1m")))
    return found


def values(url: str, query: str) -> list[float]:
    """What a query answers now; it must be one that Prometheus understands."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    return [round(float(row["value"][1]), 1) for row in answer["data"]["result"]]


def test_a_real_prometheus_scrapes_the_running_service_and_gets_from_a_number_to_a_trace(
    prometheus: Path, ffmpeg: Path, tmp_path: Path
) -> None:
    with world(tmp_path) as here:
        here.real_time = True
        here.now = datetime.now(UTC)
        ports = {"dashboard_port": 0, "health_port": 0}
        here.add(make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=4), "weekly.mp4")
        overrides = {"monitoring": {**ports, "database_path": str(tmp_path / "audio.db")}}
        with here.service(overrides) as service, web_server(service, health_seconds=0.2) as web:
            target = f"127.0.0.1:{web.ports['health']}"
            with scraping(prometheus, tmp_path, target) as url:
                # Seen before anything happens, so that what happens is an increase.
                until(url, 'audio_extract_files_processed_total{status="completed"}', 0)
                assert service.run_once().completed == 1
                until(url, 'audio_extract_files_processed_total{status="completed"}', 1)
                increased = 'sum(increase(audio_extract_files_processed_total{status="completed"}[1m]))'
                until(url, f"{increased} > bool 0", 1)
                until(url, "audio_extract:available", 1)
                until(url, "audio_extract_time_to_stored_seconds_count", 1)
                until(url, 'audio_extract_time_to_stored_seconds_bucket{le="600.0"}', 1)
                until(url, 'audio_extract_queue_depth{state="completed"}', 1)
                until(url, 'audio_extract_recordings_found_total{source="drive"}', 1)
                board = {title: values(url, query) for title, query in queries_of_the_board()}
                assert [title for title, found in board.items() if not found] == []
                assert board["Now: Can store"] == [1.0]
                # An increase is extrapolated to the ends of its time.
                assert 1 <= board["Now: Stored in 24 h"][0] < 2
                rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
                assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}


def test_the_board_is_the_one_that_its_program_makes() -> None:
    spec = spec_from_file_location("board", DEPLOY / "grafana" / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert BOARD.read_text() == module.text(), "run: make docs"


def test_the_board_asks_only_for_what_there_is_and_shows_every_metric() -> None:
    queries = queries_of_the_board()
    names = set()
    for _, query in queries:
        names |= known(query)
    assert names >= {fact.name for fact in Metrics().facts}
    panels = [panel for panel in json.loads(BOARD.read_text())["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)
    # Nothing lies over something else.
    places = [panel["gridPos"] for panel in panels]
    squares = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
               for y in range(place["y"], place["y"] + place["h"])]  # fmt: skip
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24


def test_what_grafana_is_given_fits_together() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "audio-extract.yml").read_text())["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    (leads,) = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert by_uid[leads["datasourceUid"]]["type"] == "jaeger"
    metrics = Metrics()
    metrics.transfer_ended(
        status="completed", duration_seconds=1, report=None, source_service="drive",
        destination_service="gcs", trace_id="ab" * 16,
    )  # fmt: skip
    shown = metrics.render("application/openmetrics-text; version=1.0.0")[0].decode()
    assert f'# {{{leads["name"]}="' in shown
    (provider,) = yaml.safe_load((folder / "dashboards" / "audio-extract.yml").read_text())["providers"]
    assert provider["options"]["path"]
    variables = json.loads(BOARD.read_text())["templating"]["list"]
    assert [(one["type"], one["query"]) for one in variables] == [("datasource", "prometheus")]


def selectors(text: str) -> list[tuple[str, str]]:
    """Each metric of ours that an expression names, with its matchers."""
    return re.findall(r"\b(audio_extract_[a-z_]+)\b(?!:)(?:\{([^}]*)\})?", text)


def known(text: str) -> set[str]:
    """Return the metrics that an expression names; each with its labels and their values exists."""
    facts = {fact.name: fact for fact in Metrics().facts}
    recorded = {
        rule.get("record") for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    }
    found = set()
    for name, matchers in selectors(text):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        fact = facts.get(name) or facts[base]
        found.add(fact.name)
        assert (base == name) or fact.kind == "histogram", name
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
            if label in {"job", "le"}:
                continue
            assert label in fact.labels, (name, label)
            if operator != "=~" and label in LABELS:
                assert value in LABELS[label], (name, label, value)
            elif label in LABELS:
                assert any(re.fullmatch(value, one) for one in LABELS[label]), (name, label, value)
    assert set(re.findall(r"\baudio_extract:[a-z0-9_:]+", text)) <= recorded
    return found


def test_every_metric_label_and_value_in_the_rules_exists() -> None:
    assert len(selectors(RULES.read_text())) > 30
    assert known(RULES.read_text())


def test_every_alert_names_a_section_of_the_runbook_and_has_tests_for_firing_and_for_silence() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    runbook = (DEPLOY.parent / "docs" / "runbook.md").read_text()
    checks = [
        (check["alertname"], bool(check["exp_alerts"]))
        for file in RULES.parent.glob("*_test.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert f"\n## {name}\n" in runbook
        assert (name, True) in checks, f"{name}: nothing shows that it fires"
        assert (name, False) in checks, f"{name}: nothing shows that it is silent"


def test_a_moment_of_the_database_is_the_same_from_every_replica(ffmpeg: Path, tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.add(make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=4), "weekly.mp4")
        with here.service() as first:
            assert first.run_once().completed == 1
        with here.service() as restarted:
            restarted.discover()
            text = restarted.metrics.render()[0].decode()
        at = here.now.timestamp()
        moments = {
            name: float(value)
            for name, value in re.findall(r"^audio_extract_(last_\w+) (\S+)$", text, re.MULTILINE)
        }
        assert moments == dict.fromkeys(
            (
                "last_discovery_timestamp_seconds",
                "last_found_timestamp_seconds",
                "last_stored_timestamp_seconds",
            ),
            at,
        )


def test_how_long_a_recording_waited_begins_when_it_was_made_but_not_long_before_it_was_seen(
    ffmpeg: Path, tmp_path: Path
) -> None:
    """What was moved into the folder is old; what was made just now is seen an interval later at most."""
    with world(tmp_path) as here:
        media = make_recording(tmp_path / "meeting.mp4", ffmpeg, seconds=4)
        here.add(media, "moved.mp4", created_time=here.now - timedelta(days=3))
        here.add(media, "new.mp4", created_time=here.now - timedelta(seconds=40))
        with here.service() as service:
            assert service.run_once().completed == 2
            text = service.metrics.render()[0].decode()
        waited = re.search(r"^audio_extract_time_to_stored_seconds_sum (\S+)$", text, re.MULTILINE)
        assert waited is not None
        assert float(waited[1]) == 300 + 40
