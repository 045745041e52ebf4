"""Where settings come from, which wins, and how ``${VAR}`` is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audio_extract.exceptions import ConfigurationError
from audio_extract.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ=environ or {}, overrides=overrides)


def test_without_file_and_variables_everything_has_its_default() -> None:
    settings = load_settings(environ={})
    assert settings.config_path is None
    assert settings.environment == "development"
    assert settings.google_drive.check_interval_seconds == 300
    assert settings.processing.audio_format.bitrate_bps == 128_000
    assert settings.monitoring.dashboard_host == settings.monitoring.health_host == "127.0.0.1"
    assert settings.behavior.cleanup_schedule == "0 2 * * *"


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(tmp_path: Path) -> None:
    text = "transfer: {max_ranges: 2, memory_limit_mb: 64, range_size_mb: 1}"
    variables = {"AUDIO_EXTRACT__TRANSFER__MAX_RANGES": "3", "AUDIO_EXTRACT__TRANSFER__RANGE_SIZE_MB": "2"}
    transfer = load(tmp_path, text, variables, transfer={"max_ranges": 4, "strategy": None}).transfer
    assert transfer.max_ranges == 4
    assert transfer.range_size_mb == 2
    assert transfer.memory_limit_mb == 64
    assert transfer.strategy == "parallel"


def test_files_are_looked_for_in_the_order_of_the_documentation(tmp_path: Path) -> None:
    def write(path: Path, port: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"monitoring: {{health_port: {port}}}", encoding="utf-8")
        return path

    environ = {"HOME": str(tmp_path)}
    home = write(tmp_path / ".config/audio-extract/config.yaml", 1)
    assert load_settings(environ=environ).config_path == home
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    write(tmp_path / "xdg/audio-extract/config.yaml", 2)
    assert load_settings(environ=environ).monitoring.health_port == 2
    write(Path("audio_extract_config.yaml"), 3)
    assert load_settings(environ=environ).monitoring.health_port == 3
    environ["AUDIO_EXTRACT_CONFIG"] = str(write(tmp_path / "named.yaml", 4))
    assert load_settings(environ=environ).monitoring.health_port == 4
    assert load_settings(write(tmp_path / "flag.yaml", 5), environ=environ).monitoring.health_port == 5


@pytest.mark.parametrize("by", ["--config", "AUDIO_EXTRACT_CONFIG"])
def test_a_named_file_that_does_not_exist_is_an_error_that_says_who_named_it(tmp_path: Path, by: str) -> None:
    path = tmp_path / "absent.yaml"
    config, environ = (path, {}) if by == "--config" else (None, {"AUDIO_EXTRACT_CONFIG": str(path)})
    with pytest.raises(ConfigurationError, match=r"absent\.yaml \(" + by) as failure:
        load_settings(config, environ=environ)
    assert failure.value.code == "config.file_not_found"
    assert failure.value.exit_code == 2


def test_variables_are_put_in_with_and_without_default(tmp_path: Path) -> None:
    text = (
        "storage: {local: {path: '${ROOT}/audio/${SUB:-all}', prefix: '${EMPTY:-${OTHER:-deep}}'}}\n"
        "monitoring: {dashboard_port: '${PORT:-9000}', log_file: '${LOG:-}'}"
    )
    settings = load(tmp_path, text, {"ROOT": "/data", "EMPTY": ""})
    assert settings.storage.local.path == Path("/data/audio/all")
    assert settings.storage.local.prefix == "deep"
    assert settings.monitoring.dashboard_port == 9000
    assert settings.monitoring.log_file is None


def test_a_dollar_sign_that_is_doubled_or_alone_stays(tmp_path: Path) -> None:
    email = "monitoring: {notifications: {email: {smtp_password: 'a$b$${C}$1'}}}"
    password = load(tmp_path, email).monitoring.notifications.email.smtp_password
    assert password is not None
    assert password.get_secret_value() == "a$b${C}$1"


def test_a_value_out_of_a_variable_cannot_add_keys(tmp_path: Path) -> None:
    settings = load(tmp_path, "google_drive: {subject: '${WHO}'}", {"WHO": "x}\nstorage: {type: gcs}"})
    assert settings.storage_type == "local"


def test_every_missing_variable_is_named_with_its_key(tmp_path: Path) -> None:
    text = "storage: {gcs: {bucket_name: '${BUCKET}'}}\ngoogle_drive: {recordings_folder_id: ['${FOLDER}']}"
    with pytest.raises(ConfigurationError) as failure:
        load(tmp_path, text)
    message = str(failure.value)
    assert "storage.gcs.bucket_name: the variable BUCKET is not set" in message
    assert "google_drive.recordings_folder_id[0]: the variable FOLDER is not set" in message
    assert "2 problems" in message


def test_a_file_stands_for_a_variable_as_containers_get_secrets(tmp_path: Path) -> None:
    secret = tmp_path / "bucket"
    secret.write_text("from-a-file\n")
    text = "storage: {gcs: {bucket_name: '${BUCKET}', prefix: '${PREFIX:-a}'}}"
    assert load(tmp_path, text, {"BUCKET_FILE": str(secret)}).storage.gcs.bucket_name == "from-a-file"
    both = {"BUCKET_FILE": str(secret), "BUCKET": "from-a-variable"}
    assert load(tmp_path, text, both).storage.gcs.bucket_name == "from-a-variable"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * 2**21, "has more than 1 MiB"),
    ],
)
def test_a_file_that_cannot_stand_for_a_variable_is_named_without_its_text(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigurationError) as failure:
        load(tmp_path, "storage: {gcs: {bucket_name: '${BUCKET}'}}", {"BUCKET_FILE": str(secret)})
    assert f"the file {secret} (BUCKET_FILE) {said}" in str(failure.value)
    assert "is not set" not in str(failure.value)


def test_a_missing_variable_does_not_matter_where_something_else_sets_the_key(tmp_path: Path) -> None:
    text = "storage: {gcs: {bucket_name: '${BUCKET}'}}"
    variables = {"AUDIO_EXTRACT__STORAGE__GCS__BUCKET_NAME": "other-bucket"}
    assert load(tmp_path, text, variables).bucket_name == "other-bucket"


def test_sections_and_keys_without_value_mean_their_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, "google_drive:\nprocessing:\n  max_parallel_downloads:\n")
    assert settings.processing.max_parallel_downloads == 3


def test_empty_variables_count_as_not_set() -> None:
    environ = {"AUDIO_EXTRACT__MONITORING__HEALTH_PORT": "", "AUDIO_EXTRACT__GOOGLE_DRIVE__SUBJECT": " "}
    settings = load_settings(environ=environ)
    assert settings.monitoring.health_port == 8081
    assert settings.google_drive.subject is None


@pytest.mark.parametrize("text", ["one, two", '["one", "two"]'])
def test_lists_can_be_written_into_a_variable(text: str) -> None:
    settings = load_settings(environ={"AUDIO_EXTRACT__GOOGLE_DRIVE__RECORDINGS_FOLDER_ID": text})
    assert settings.google_drive.recordings_folder_id == ["one", "two"]


def test_one_folder_a_list_and_a_link_are_folders(tmp_path: Path) -> None:
    text = "google_drive: {recordings_folder_id: %s}"
    link = "https://drive.google.com/drive/folders/1AbC_d-E?usp=sharing"
    assert load(tmp_path, text % "abc").google_drive.recordings_folder_id == ["abc"]
    assert load(tmp_path, text % f"[abc, '{link}']").google_drive.recordings_folder_id == ["abc", "1AbC_d-E"]


def test_the_containers_short_variables_are_understood(tmp_path: Path) -> None:
    environ = {
        "AUDIO_EXTRACT_FOLDER_ID": "folder",
        "GCS_BUCKET_NAME": "my-bucket",
        "GCS_CREDENTIALS_PATH": "/keys/a.json",
        "ENVIRONMENT": "staging",
    }
    settings = load(tmp_path, "google_drive: {recordings_folder_id: other}", environ)
    assert settings.google_drive.recordings_folder_id == ["folder"]
    assert settings.bucket_name == "my-bucket"
    assert settings.bucket_credentials_path == Path("/keys/a.json")
    assert settings.object_prefix == "staging"


def test_variables_that_other_programs_use_too_do_not_override_the_file(tmp_path: Path) -> None:
    text = "environment: development\nprocessing: {use_gcs_api: true, gcs: {bucket_name: from-file}}"
    settings = load(tmp_path, text, {"ENVIRONMENT": "production", "GCS_BUCKET_NAME": "from-variable"})
    assert settings.environment == "development"
    assert settings.bucket_name == "from-file"
    assert load_settings(environ={"ENVIRONMENT": "qa-7"}).environment == "development"


def test_emulator_hosts_come_from_their_variables() -> None:
    environ = {"DRIVE_EMULATOR_HOST": "http://127.0.0.1:1/", "STORAGE_EMULATOR_HOST": "127.0.0.1:2"}
    settings = load_settings(environ=environ)
    assert settings.drive_emulator_host == "http://127.0.0.1:1"
    assert settings.storage_emulator_host == "http://127.0.0.1:2"
    with pytest.raises(ConfigurationError, match="DRIVE_EMULATOR_HOST"):
        load_settings(environ={"DRIVE_EMULATOR_HOST": "http://127.0.0.1:1/drive/v3"})


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load(tmp_path, "storage: {local: {path: ~/audio}}\nmonitoring: {database_path: ~/a.db}")
    assert settings.storage_folder == Path("/home/somebody/audio")
    assert settings.database_url == "sqlite:////home/somebody/a.db"
