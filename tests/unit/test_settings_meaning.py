"""What settings mean together: the destination, names, the database, and the files in configs/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from audio_extract.settings import Settings, example_text, json_schema, load_settings, masked_dict
from audio_extract.settings.schema import keys_of

CONFIGS = Path(__file__).parents[2] / "configs"
MIB = 1024 * 1024


def load(text: str, tmp_path: Path) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ={})


@pytest.mark.parametrize(
    ("text", "storage_type", "prefix"),
    [
        ("storage: {type: gcs}", "gcs", "dev"),
        ("storage: {type: gcs}\nenvironment: staging", "gcs", "staging"),
        ("storage: {type: gcs}\nenvironment: production", "gcs", "prod"),
        ("storage: {type: gcs}\nenvironment: prod", "gcs", "prod"),
        ("storage: {type: gcs, gcs: {prefix: /team/audio/}}", "gcs", "team/audio"),
        ("storage: {type: gcs, gcs: {prefix: ''}}", "gcs", ""),
        ("processing: {use_gcs_api: true, gcs: {prefix: old/}}", "gcs", "old"),
        ("storage: {gcs: {bucket_name: my-bucket}}", "gcs", "dev"),
        ("storage: {gcs: {bucket_name: my-bucket}, local: {path: /a}}", "local", ""),
        ("storage: {type: local, local: {path: /a}}\nenvironment: prod", "local", ""),
        ("storage: {type: local, local: {path: /a, prefix: x}}", "local", "x"),
        ("processing: {output_directory: /mnt/audio-extracts/prod}\nenvironment: prod", "local", ""),
        ("processing: {output_directory: /mnt/a, gcs: {prefix: prod}}", "local", ""),
    ],
)
def test_destination_and_prefix_follow_from_the_keys(
    tmp_path: Path, text: str, storage_type: str, prefix: str
) -> None:
    settings = load(text, tmp_path)
    assert (settings.storage_type, settings.object_prefix) == (storage_type, prefix)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("storage: {local: {path: /new}}\nprocessing: {output_directory: /old}", "/new"),
        ("processing: {output_directory: /old}", "/old"),
        ("storage: {gcs_mount: {enabled: true, mount_point: /mnt/a}}", "/mnt/a"),
        (
            "storage: {gcs_mount: {enabled: true, mount_point: /mnt/a}, local: {path: /mnt/a/prod}}",
            "/mnt/a/prod",
        ),
        ("storage: {gcs_mount: {mount_point: /mnt/a}}", None),
        ("storage: {local: {fallback_path: /never}}", None),
    ],
)
def test_the_folder_is_that_of_storage_before_earlier_keys(
    tmp_path: Path, text: str, folder: str | None
) -> None:
    assert load(text, tmp_path).storage_folder == (Path(folder) if folder else None)


def test_the_temporary_folder_is_the_new_key_before_the_earlier_one(tmp_path: Path) -> None:
    earlier = "google_drive: {download_temp_dir: /old}\n"
    assert load(earlier, tmp_path).temp_directory == Path("/old")
    assert load(earlier + "processing: {temp_directory: /new}", tmp_path).temp_directory == Path("/new")


def test_the_range_size_is_the_new_key_before_the_earlier_one(tmp_path: Path) -> None:
    earlier = "behavior: {download_chunk_size_mb: %s}\n"
    assert load("", tmp_path).range_size_bytes == 4 * MIB
    assert load(earlier % 2, tmp_path).range_size_bytes == 2 * MIB
    assert load(earlier % 500, tmp_path).range_size_bytes == 16 * MIB
    assert load(earlier % 2 + "transfer: {range_size_mb: 8}", tmp_path).range_size_bytes == 8 * MIB


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/data/a.db", "sqlite:////data/a.db"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    ],
)
def test_the_database_is_a_file_or_a_url(tmp_path: Path, path: str, url: str) -> None:
    assert load(f"monitoring: {{database_path: '{path}'}}", tmp_path).database_url == url


def test_a_codec_gets_the_rate_and_bitrate_it_can_have(tmp_path: Path) -> None:
    def audio(text: str) -> tuple[int | None, int | None, int | None]:
        found = load(f"processing: {{audio_format: {{{text}}}}}", tmp_path).processing.audio_format
        return found.bitrate_bps, found.sample_rate_hz, found.channel_count

    assert audio("") == (128_000, 44_100, 1)
    assert audio("bitrate: 64000") == (64_000, 44_100, 1)
    assert audio("codec: opus") == (None, None, 1)
    assert audio("codec: opus, bitrate: 24k, sample_rate: 16000") == (24_000, 16_000, 1)
    assert audio("codec: flac, bitrate: 64k, channels: 2") == (None, 44_100, 2)
    assert audio("codec: copy, channels: 2") == (None, None, None)


def test_the_size_limit_is_off_at_zero(tmp_path: Path) -> None:
    assert load("", tmp_path).max_source_bytes is None
    assert load("processing: {max_file_size_mb: 0}", tmp_path).max_source_bytes is None
    assert load("processing: {max_file_size_mb: 2}", tmp_path).max_source_bytes == 2 * MIB


def uncommented(text: str) -> str:
    return re.sub(r"^( *)#(?=\w)", r"\1", text, flags=re.MULTILINE)


def _keys(document: dict[str, Any], above: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in document.items():
        # An empty one below a section is a value.
        is_section = isinstance(value, dict) and (value or not above)
        found |= _keys(value, f"{above}{name}.") if is_section else {f"{above}{name}"}
    return found


def test_the_example_explains_every_key_and_its_values_are_allowed(tmp_path: Path) -> None:
    text = uncommented(example_text())
    assert _keys(yaml.safe_load(text)) == set(keys_of(Settings))
    assert load(text, tmp_path).bucket_name == "my-bucket"


def test_the_example_as_it_is_means_all_defaults(tmp_path: Path) -> None:
    assert masked_dict(load(example_text(), tmp_path)) == masked_dict(load("", tmp_path))


def test_the_example_in_configs_is_the_generated_one() -> None:
    example = CONFIGS / "audio_extract_config.example.yaml"
    assert example.read_text(encoding="utf-8") == example_text(), (
        "run: audio-extract config init configs/audio_extract_config.example.yaml --yes"
    )


@pytest.mark.parametrize(
    ("name", "environment", "storage_type"),
    [("dev", "development", "local"), ("staging", "staging", "gcs"), ("prod", "production", "gcs")],
)
def test_the_files_in_configs_load_without_any_variable(
    name: str, environment: str, storage_type: str
) -> None:
    settings = load_settings(CONFIGS / f"audio_extract_config.{name}.yaml", environ={})
    assert settings.environment == environment
    assert settings.storage_type == storage_type
    assert settings.google_drive.recordings_folder_id == []


def test_the_files_in_configs_take_folder_bucket_and_database_from_variables() -> None:
    variables = {
        "AUDIO_EXTRACT_FOLDER_ID": "abc",
        "GCS_BUCKET_NAME": "my-bucket",
        "DATABASE_URL": "postgresql://u:p@h/d",
    }
    settings = load_settings(CONFIGS / "audio_extract_config.prod.yaml", environ=variables)
    assert settings.google_drive.recordings_folder_id == ["abc"]
    assert settings.bucket_name == "my-bucket"
    assert settings.object_prefix == "prod"
    assert settings.database_url == "postgresql+psycopg://u:p@h/d"


def test_a_mounted_bucket_gets_the_prefix_of_a_bucket_and_a_folder_on_it_does_not(tmp_path: Path) -> None:
    mount = "gcs_mount: {enabled: true, mount_point: /mnt/audio-extracts}"
    settings = load(f"environment: production\nstorage: {{type: local, {mount}}}", tmp_path)
    assert (settings.storage_folder, settings.object_prefix) == (Path("/mnt/audio-extracts"), "prod")
    folder = "local: {path: /mnt/audio-extracts/prod}"
    settings = load(f"environment: production\nstorage: {{type: local, {mount}, {folder}}}", tmp_path)
    assert (settings.storage_folder, settings.object_prefix) == (Path("/mnt/audio-extracts/prod"), "")


def test_a_file_of_the_earlier_service_keeps_working(tmp_path: Path) -> None:
    settings = load(EARLIER, tmp_path)
    assert settings.storage_type == "gcs"
    assert settings.bucket_name == "meetings-audio"
    assert settings.object_prefix == "prod"
    assert settings.behavior.retry_attempts == 3
    assert settings.monitoring.notifications.email.to_addresses == ["ops@example.com"]


EARLIER = """
environment: production
google_drive: {service_account_file: /app/key.json, recordings_folder_id: 1AbC, check_interval_seconds: 300,
               days_to_look_back: 7, download_temp_dir: /tmp/videos}
processing:
  output_directory: /mnt/audio-extracts/prod
  use_gcs_api: true
  gcs: {bucket_name: meetings-audio, prefix: prod/, credentials_path: /app/key.json}
  delete_video_after_processing: true
  max_file_size_mb: 5000
  max_parallel_downloads: 3
  audio_format: {bitrate: 128k, sample_rate: 44100, channels: 1}
storage:
  type: gcs
  local: {path: ./output, fallback_path: /tmp/fallback}
  gcs: {bucket_name: meetings-audio, credentials_path: /app/key.json, public_access: false, url_expiration_hours: 24}
  gcs_mount: {enabled: false, bucket_name: meetings-audio, mount_point: /mnt/audio-extracts, mount_options: --implicit-dirs}
monitoring:
  {enable_dashboard: true, dashboard_port: 8080, dashboard_open_browser: false, health_port: 8081, log_level: info,
   log_to_console: true, log_file: /app/logs/a.log, log_max_size_mb: 100, log_backup_count: 10,
   database_path: /app/data/a.db,
   notifications: {email: {enabled: true, smtp_host: smtp.example.com, smtp_port: 587, smtp_user: u, smtp_password: p,
     from_address: a@example.com, to_addresses: [ops@example.com], on_failure: true, on_success: false,
     failure_threshold: 3}}}
behavior: {run_mode: continuous, retry_failed_files: true, retry_attempts: 3, retry_delay_seconds: 300,
           stop_on_error: false, show_full_traceback: false, download_chunk_size_mb: 10,
           cleanup_old_records_days: 90, cleanup_schedule: "0 2 * * *"}
"""  # noqa: E501 - as people write them


def test_the_json_schema_describes_the_files_in_configs() -> None:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in ("dev", "staging", "prod"):
        text = (CONFIGS / f"audio_extract_config.{name}.yaml").read_text(encoding="utf-8")
        jsonschema.validate(yaml.safe_load(text), schema)
    jsonschema.validate(yaml.safe_load(uncommented(example_text())), schema)
    jsonschema.validate(yaml.safe_load(EARLIER), schema)
    for wrong in ({"storge": {}}, {"storage": {"type": "s3"}}, {"transfer": {"max_ranges": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
