"""Wrong settings: every one is named, with what was expected and what to do, and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_extract.exceptions import ConfigurationError
from audio_extract.settings import (
    bucket_key_file,
    drive_key_file,
    load_settings,
    masked_dict,
    require_destination,
    require_source,
)


def problem(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as failure:
        load_settings(file, environ=environ or {})
    assert failure.value.exit_code == 2
    assert "settings.yaml" in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("storge: {type: gcs}", "storge: unknown key; did you mean storage?"),
        ("storage: {typ: gcs}", "storage.typ: unknown key; did you mean storage.type?"),
        (
            "google_drive: {dashboard_port: 1}",
            "google_drive.dashboard_port: unknown key; did you mean monitoring.dashboard_port?",
        ),
        ("processing: {ffmpeg: {zzz: 1}}", "processing.ffmpeg.zzz: unknown key; the nearest is "),
        ("security: {anything: 1}", "security.anything: unknown key; the nearest is security.password_hash"),
        ("monitoring: {health_port: often}", "monitoring.health_port: expected a whole number, not 'often'"),
        (
            "monitoring: {health_port: 70000}",
            "monitoring.health_port: expected a number up to 65535, not 70000",
        ),
        ("transfer: {max_ranges: 0}", "transfer.max_ranges: expected a number from 1 on, not 0"),
        ("behavior: {stop_on_error: maybe}", "behavior.stop_on_error: expected true or false, not 'maybe'"),
        (
            "processing: {audio_format: {codec: mp4}}",
            "processing.audio_format.codec: expected one of mp3, aac, opus, flac, wav, copy, not 'mp4'",
        ),
        ("storage: {type: s3}", "storage.type: expected one of local, gcs, not 's3'"),
        ("behavior: 5", "behavior: expected a section with keys of its own"),
        ("upload: {chunk_size_mb: 0.3}", "upload.chunk_size_mb: expected a multiple of 0.25"),
        ("google_drive: {time_zone: Mars/Base}", "google_drive.time_zone: expected a time zone such as"),
        ("behavior: {cleanup_schedule: daily}", "behavior.cleanup_schedule: expected five fields as in cron"),
        ("storage: {gcs: {bucket_name: My Bucket}}", "storage.gcs.bucket_name: expected a bucket name"),
        (
            "storage: {gcs: {prefix: a/../b}}",
            "storage.gcs.prefix: expected a prefix without '.' and '..' parts",
        ),
        (
            "processing: {audio_format: {bitrate: fast}}",
            "audio_format.bitrate: expected a bitrate such as 128k",
        ),
        ("processing: {audio_format: {bitrate: 100k}}", "bitrate: at this sample_rate mp3 knows 32k, 40k"),
        ("processing: {audio_format: {sample_rate: 44101}}", "sample_rate: mp3 knows 8000"),
        (
            "processing: {audio_format: {codec: opus, sample_rate: 44100}}",
            "sample_rate: opus knows 8000, 12000, 16000, 24000 and 48000",
        ),
        ("telemetry: {otlp_endpoint: 'localhost:4318'}", "expected a URL such as http://localhost:4318"),
        ("telemetry: {trace_url: 'http://localhost:16686/trace/'}", "expected a URL with {trace_id} in it"),
        (
            "execution: {backend: celery}",
            "execution.backend: expected one of local, procrastinate, not 'celery'",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problem(tmp_path, text)


def test_all_problems_of_a_file_stand_in_one_message(tmp_path: Path) -> None:
    message = problem(
        tmp_path,
        "storge: {}\nbehavior: {retry_attempts: many}\nmonitoring: {log_level: '${NOPE}'}",
        {"AUDIO_EXTRACT__UPLOAD__CHUNK_SIZE_MB": "big", "AUDIO_EXTRACT__PROCESING__X": "1"},
    )
    assert "5 problems" in message
    assert "storge: unknown key" in message
    assert "behavior.retry_attempts: expected a whole number" in message
    assert "monitoring.log_level: the variable NOPE is not set" in message
    assert "upload.chunk_size_mb (from AUDIO_EXTRACT__UPLOAD__CHUNK_SIZE_MB): expected a number" in message
    assert "procesing (from AUDIO_EXTRACT__PROCESING__X): unknown key; did you mean processing?" in message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "storage: {type: gcs}\nprocessing: {use_gcs_api: false}",
            ("storage.type", "processing.use_gcs_api"),
        ),
        (
            "storage: {type: local}\nprocessing: {use_gcs_api: true}",
            ("storage.type", "processing.use_gcs_api"),
        ),
        (
            "storage: {gcs: {bucket_name: one-bucket}}\nprocessing: {gcs: {bucket_name: another}}",
            ("storage.gcs.bucket_name", "processing.gcs.bucket_name"),
        ),
        (
            "storage: {type: gcs, gcs_mount: {enabled: true}}",
            ("storage.type", "storage.gcs_mount.enabled"),
        ),
        (
            "upload: {chunk_size_mb: 32}\ntransfer: {memory_limit_mb: 48}",
            ("upload.chunk_size_mb", "transfer.memory_limit_mb"),
        ),
        (
            "monitoring: {notifications: {email: {enabled: true, smtp_host: a}}}",
            ("email.enabled", "email.from_address", "email.to_addresses"),
        ),
        ("monitoring: {database_path: 'mysql://h/d'}", ("monitoring.database_path", "postgresql://")),
        ("execution: {backend: procrastinate}", ("execution.backend", "monitoring.database_path")),
        (
            "execution: {backend: procrastinate}\nmonitoring: {database_path: audio.db}",
            ("execution.backend", "monitoring.database_path", "postgresql://"),
        ),
    ],
)
def test_keys_that_contradict_each_other_are_both_named(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    message = problem(tmp_path, text)
    assert all(name in message for name in names), message


def test_several_contradictions_are_all_said(tmp_path: Path) -> None:
    message = problem(
        tmp_path, "storage: {type: gcs, gcs_mount: {enabled: true}}\nprocessing: {use_gcs_api: no}"
    )
    assert "2 problems" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\na: 2", "line 2, column 1: the key a stands twice"),
        ("storage: {type: gcs", "line 1"),
        ("just words", "does not consist of sections"),
        ("- a list", "does not consist of sections"),
    ],
)
def test_a_file_that_is_not_yaml_sections_is_refused_with_the_place(
    tmp_path: Path, text: str, place: str
) -> None:
    assert place in problem(tmp_path, text)


def test_a_recording_given_as_settings_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "settings.mp4"
    with file.open("wb") as out:
        out.truncate(8 * 1024**3)
    with pytest.raises(ConfigurationError, match="more than 1 MiB"):
        load_settings(file, environ={})


SECRET = "hunter2-secret"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"monitoring: {{notifications: {{email: {{smtp_password: [{SECRET}]}}}}}}", {}),
        (f"monitoring: {{notifications: {{email: {{smtp_pasword: {SECRET}}}}}}}", {}),
        ("monitoring: {health_port: '${PASSWORD}'}", {"PASSWORD": SECRET}),
        (f"monitoring: {{database_path: 'mysql://u:{SECRET}@h/d'}}", {}),
        (f"monitoring: {{notifications: {{email: {{smtp_password: *{SECRET}}}}}}}", {}),
        (f"password: '{SECRET}\n", {}),
    ],
)
def test_no_message_shows_what_can_be_secret(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    assert SECRET not in problem(tmp_path, text, environ)


def test_neither_repr_nor_masked_dict_shows_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"monitoring: {{database_path: 'postgresql://u:{SECRET}@h/d',"
        f" notifications: {{email: {{smtp_password: {SECRET}}}}}}}\n"
        f"redis: {{url: 'redis://:{SECRET}@h/0'}}",
        encoding="utf-8",
    )
    settings = load_settings(file, environ={})
    assert SECRET not in repr(settings)
    assert SECRET not in str(masked_dict(settings))
    assert masked_dict(settings)["storage"]["gcs"]["url_expiration_hours"] == 24
    assert SECRET in settings.database_url


def test_without_a_folder_to_watch_the_message_names_the_key_and_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"google_drive\.recordings_folder_id") as failure:
        require_source(load_settings(environ={}))
    assert "AUDIO_EXTRACT__GOOGLE_DRIVE__RECORDINGS_FOLDER_ID" in str(failure.value)
    require_source(load_settings(environ={"AUDIO_EXTRACT_FOLDER_ID": "abc"}))
    require_source(load_settings(environ={"AUDIO_EXTRACT__SOURCES__LOCAL__PATH": "/recordings"}))


def test_without_a_destination_the_message_names_what_storage_type_asks_for() -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.local\.path"):
        require_destination(load_settings(environ={}))
    with pytest.raises(ConfigurationError, match=r"storage\.gcs\.bucket_name"):
        require_destination(load_settings(environ={"AUDIO_EXTRACT__STORAGE__TYPE": "gcs"}))
    require_destination(load_settings(environ={"GCS_BUCKET_NAME": "my-bucket"}))
    require_destination(load_settings(environ={"AUDIO_EXTRACT__PROCESSING__OUTPUT_DIRECTORY": "/mnt/a"}))


@pytest.mark.parametrize("content", [None, "not json " + SECRET, "[]", '{"no": "type"}'])
def test_a_key_file_that_cannot_be_used_is_named_by_its_setting(tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content, encoding="utf-8")
    variables = {
        "AUDIO_EXTRACT__GOOGLE_DRIVE__SERVICE_ACCOUNT_FILE": str(key),
        "AUDIO_EXTRACT__STORAGE__GCS__CREDENTIALS_PATH": str(key),
    }
    settings = load_settings(environ=variables)
    with pytest.raises(
        ConfigurationError, match=r"^google_drive\.service_account_file: .*key\.json"
    ) as failure:
        drive_key_file(settings)
    assert failure.value.code == "config.key_file"
    assert SECRET not in str(failure.value)
    with pytest.raises(ConfigurationError, match=r"^storage\.gcs\.credentials_path: "):
        bucket_key_file(settings)


def test_with_an_emulator_no_key_file_is_opened(tmp_path: Path) -> None:
    settings = load_settings(
        environ={
            "AUDIO_EXTRACT__GOOGLE_DRIVE__SERVICE_ACCOUNT_FILE": str(tmp_path / "absent.json"),
            "GCS_CREDENTIALS_PATH": str(tmp_path / "absent.json"),
            "DRIVE_EMULATOR_HOST": "http://127.0.0.1:1",
            "STORAGE_EMULATOR_HOST": "http://127.0.0.1:2",
        }
    )
    assert drive_key_file(settings) is None
    assert bucket_key_file(settings) is None


def test_a_key_file_that_is_there_is_given(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"type": "service_account"}', encoding="utf-8")
    settings = load_settings(environ={"AUDIO_EXTRACT__GOOGLE_DRIVE__SERVICE_ACCOUNT_FILE": str(key)})
    assert drive_key_file(settings) == key
    assert bucket_key_file(settings) is None
