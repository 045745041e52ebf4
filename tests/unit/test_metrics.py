from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from audio_extract.telemetry.metrics import Metrics
from support.reports import transfer_report


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        for sample in family.samples
    }


def test_a_transfer_counts_its_bytes_requests_and_retries() -> None:
    metrics = Metrics()
    metrics.transfer_started()
    assert samples(metrics)["audio_extract_active_downloads", ()] == 1
    metrics.transfer_ended(
        status="completed",
        duration_seconds=3,
        report=transfer_report(),
        source_service="drive",
        destination_service="gcs",
    )
    found = samples(metrics)
    assert found["audio_extract_active_downloads", ()] == 0
    assert found["audio_extract_files_processed_total", (("status", "completed"),)] == 1
    assert found["audio_extract_files_processed_total", (("status", "failed"),)] == 0
    assert found["audio_extract_source_bytes_total", ()] == 100
    assert found["audio_extract_fetched_bytes_total", ()] == 40
    assert found["audio_extract_stored_bytes_total", ()] == 10
    assert found["audio_extract_audio_seconds_total", ()] == 1.5
    assert found["audio_extract_requests_total", (("outcome", "ok"), ("service", "drive"))] == 2
    assert found["audio_extract_requests_total", (("outcome", "ok"), ("service", "gcs"))] == 1
    assert (
        found["audio_extract_retries_total", (("reason", "source.server_error"), ("service", "drive"))] == 1
    )
    assert found["audio_extract_processing_duration_seconds_count", ()] == 1


def test_a_failed_transfer_counts_as_failed_and_is_no_longer_active() -> None:
    metrics = Metrics()
    metrics.transfer_started()
    metrics.transfer_ended(
        status="failed",
        duration_seconds=1,
        report=None,
        source_service="drive",
        destination_service="gcs",
    )
    found = samples(metrics)
    assert found["audio_extract_files_processed_total", (("status", "failed"),)] == 1
    assert found["audio_extract_active_downloads", ()] == 0


def test_a_state_that_became_empty_has_none() -> None:
    metrics = Metrics()
    metrics.queue({"pending": 3, "in_progress": 1})
    metrics.queue({"pending": 2})
    depths = {key: value for key, value in samples(metrics).items() if key[0] == "audio_extract_queue_depth"}
    assert {key[1][0][1]: depth for key, depth in depths.items() if depth} == {"pending": 2}
    assert depths["audio_extract_queue_depth", (("state", "in_progress"),)] == 0


def test_two_services_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.discovered(at_unix_seconds=5)
    key = ("audio_extract_last_discovery_timestamp_seconds", ())
    assert (samples(first)[key], samples(second)[key]) == pytest.approx((5, 0))


def test_the_build_is_named() -> None:
    metrics = Metrics()
    metrics.set_build(version="1.2.3", engine="4.5.6")
    [key] = [key for key in samples(metrics) if key[0] == "audio_extract_build_info"]
    assert ("version", "1.2.3") in key[1]


def test_openmetrics_leads_from_a_number_to_a_trace_and_plain_text_stays_plain() -> None:
    metrics = Metrics()
    metrics.transfer_ended(
        status="completed",
        duration_seconds=3,
        report=None,
        source_service="drive",
        destination_service="gcs",
        waited_seconds=90,
        trace_id="ab" * 16,
    )
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    stored = next(
        line for line in body.decode().splitlines() if 'time_to_stored_seconds_bucket{le="120.0"' in line
    )
    assert f'# {{trace_id="{"ab" * 16}"}} 90.0' in stored
    body, content_type = metrics.render("")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"trace_id" not in body


def test_what_was_given_up_is_counted_by_what_has_to_be_done_about_it_and_has_no_time_to_stored() -> None:
    metrics = Metrics()
    for status in ("failed", "quarantined"):
        metrics.transfer_ended(
            status=status,
            duration_seconds=1,
            report=None,
            source_service="drive",
            destination_service="gcs",
            error_kind="transient",
            waited_seconds=900,
        )
    found = samples(metrics)
    assert found["audio_extract_failures_total", (("kind", "transient"),)] == 2
    assert found["audio_extract_quarantined_total", (("kind", "transient"),)] == 1
    assert found["audio_extract_time_to_stored_seconds_count", ()] == 0


def test_what_is_counted_from_the_start_has_its_series_before_its_first_event() -> None:
    """A counter that appears with its first event hides that event from rate()."""
    found = samples(Metrics())
    assert found["audio_extract_quarantined_total", (("kind", "media"),)] == 0
    assert found["audio_extract_discoveries_total", (("result", "failure"), ("source", "drive"))] == 0
    assert (
        found["audio_extract_retries_total", (("reason", "source.rate_limited"), ("service", "drive"))] == 0
    )
