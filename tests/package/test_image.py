"""The image in a real Docker engine. `make test-docker` runs it."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path

import pytest
import yaml

from audio_extract.emulator.samples import generate
from package.containers import IMAGE, PLAIN, docker, run, started

pytestmark = pytest.mark.skipif(not (IMAGE and PLAIN), reason="the image: make test-docker")

LOCKED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--user",
    "1000",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
)


@pytest.fixture
def work(ffmpeg: Path, tmp_path: Path) -> Path:
    """Folders of a service between two folders, which user 1000 of a container may use."""
    [made] = generate(tmp_path / "samples", ffmpeg, seconds=4, keys=frozenset({"moov_last"}))
    for name in ("in", "output", "data", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    shutil.copy(made.path, tmp_path / "in" / "Weekly (2025-01-29 at 10:00 GMT).mp4")
    values = {
        "environment": "development",
        "sources": {"local": {"path": "/in", "settle_seconds": 0}},
        "storage": {"type": "local", "local": {"path": "/app/output"}},
    }
    (tmp_path / "configs" / "audio_extract_config.dev.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def mounted(work: Path) -> tuple[str, ...]:
    volumes = {"in": "/in:ro", "output": "/app/output", "data": "/app/data", "configs": "/app/configs:ro"}
    return tuple(word for name, place in volumes.items() for word in ("--volume", f"{work / name}:{place}"))


@pytest.mark.parametrize(("image", "megabytes"), [(PLAIN, 250), (IMAGE, 330)], ids=["plain", "gcsfuse"])
def test_it_is_small(image: str, megabytes: int) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image).out)
    assert size <= megabytes * 1_000_000


def test_it_says_what_it_is_and_runs_as_nobody_special() -> None:
    [found] = json.loads(docker("image", "inspect", IMAGE).out)
    config = found["Config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["org.opencontainers.image.title"] == "audio-extract"
    assert {"8080/tcp", "8081/tcp"} <= config["ExposedPorts"].keys()
    assert config["Healthcheck"]["Test"] == ["CMD", "audio-extract", "healthcheck"]


@pytest.mark.parametrize("program", ["gcc", "cc", "pip", "pip3", "python3", "curl", "cargo", "go"])
def test_nothing_is_inside_that_does_not_run(program: str) -> None:
    done = docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", f"command -v {program}")
    assert (done.code, done.out) == (127, "") or done.code == 1


@pytest.mark.parametrize("options", [(), LOCKED], ids=["as it is", "locked"])
def test_the_demo_works(options: tuple[str, ...]) -> None:
    done = run("demo", "--once", options=options)
    assert done.code == 0, done.err
    assert "6 of 6 recordings stored and verified" in done.out


def test_the_command_of_readme_works_as_it_stands_there() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [line] = [line for line in readme.splitlines() if line.startswith("docker run --rm ")]
    done = docker(*shlex.split(line)[1:])
    assert done.code == 0, done.err
    assert "6 of 6 recordings stored and verified" in done.out


def test_words_are_commands_and_dashes_are_the_monitors() -> None:
    assert run("version").out.startswith("audio-extract ")
    done = run("--help")
    assert (done.code, "--folder-id" in done.out) == (0, True), done.err
    assert run("nonsense").code == 2


def test_it_serves_is_healthy_stores_and_stops_cleanly(work: Path) -> None:
    words = ("--config", "/app/configs/audio_extract_config.dev.yaml")
    options = (*LOCKED, *mounted(work), "--health-interval", "1s")
    with started(*words, options=options) as container:
        deadline = time.monotonic() + 60
        while not list((work / "output").rglob("*_audio.mp3")):
            assert time.monotonic() < deadline, container.log()
            time.sleep(0.1)
        while container.inspect()["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, container.inspect()["State"]["Health"]
            time.sleep(0.2)
        assert container.stop() == 0, container.log()
        assert "nothing was left behind" in container.log()


def test_a_health_check_of_a_service_that_is_not_there_fails() -> None:
    done = run("healthcheck")
    assert done.code == 1
    assert "does not answer" in done.err


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (PLAIN, (), "has no gcsfuse"),
        (IMAGE, (), "GCS_BUCKET_NAME is not set"),
        (IMAGE, ("--env", "GCS_BUCKET_NAME=recordings"), "--device /dev/fuse --cap-add SYS_ADMIN"),
        (
            IMAGE,
            (
                "--env",
                "GCS_BUCKET_NAME=recordings",
                "--device",
                "/dev/fuse",
                "--env",
                "GCSFUSE_OPTS=--anonymous-access",
            ),
            "no SYS_ADMIN",
        ),
        # gcsfuse itself would go on trying.
        (
            IMAGE,
            (
                *("--env", "GCS_BUCKET_NAME=recordings", "--env", "GCSFUSE_OPTS=--anonymous-access"),
                *("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN", "--network", "none"),
            ),
            "reaches Google",
        ),
    ],
    ids=["plain", "no bucket", "no device", "no right", "no network"],
)
def test_a_mount_that_cannot_be_is_said_and_nothing_is_written(
    work: Path, image: str, options: tuple[str, ...], said: str
) -> None:
    done = run("once", image=image, options=("--env", "ENABLE_GCSFUSE=true", *mounted(work), *options))
    assert done.code == 2
    assert said in done.err
    assert list((work / "output").iterdir()) == []


def test_it_falls_back_to_a_folder_only_when_told_to(work: Path) -> None:
    config = ("--env", "AUDIO_EXTRACT_CONFIG=/app/configs/audio_extract_config.dev.yaml")
    fuse = ("--env", "ENABLE_GCSFUSE=true", "--env", "GCS_BUCKET_NAME=recordings")
    told = ("--env", "GCSFUSE_FALLBACK_PATH=/app/output")
    done = run("once", options=(*config, *fuse, *told, *mounted(work)))
    assert done.code == 0, done.err
    assert "as GCSFUSE_FALLBACK_PATH says" in done.err
    assert len(list((work / "output").rglob("*_audio.mp3"))) == 1
