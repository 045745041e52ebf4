"""Audio through a bucket that gcsfuse mounts, in the image. `make test-gcsfuse` runs it, as root.

fake-gcs-server stands in for Cloud Storage: nothing of ours, so what it has is what gcsfuse really wrote.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c
import httpx
import pytest
import yaml

from audio_extract.emulator.samples import generate
from package.containers import IMAGE, Container, run, started

SERVER = os.environ.get("AUDIO_EXTRACT_TEST_STORAGE_SERVER", "")
BUCKET = "recordings"
FUSE_DEVICE = Path("/dev/fuse")
FUSE = ("--cap-add", "SYS_ADMIN", "--device", "/dev/fuse", "--security-opt", "apparmor=unconfined")
#: As user 1000 fusermount3 mounts; as root gcsfuse itself does, and root is given up afterwards.
USERS = ("1000", "0")

pytestmark = pytest.mark.skipif(not (IMAGE and SERVER), reason="gcsfuse: make test-gcsfuse")


class Cloud:
    """The stand-in for Cloud Storage, seen through its API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.options = (
            *(
                "--network",
                "host",
                *FUSE,
                "--env",
                "ENABLE_GCSFUSE=true",
                "--env",
                f"GCS_BUCKET_NAME={BUCKET}",
            ),
            *(
                "--env",
                f"GCSFUSE_OPTS=--custom-endpoint {url}/storage/v1/ --enable-hns=false --anonymous-access",
            ),
        )

    def objects(self) -> dict[str, dict[str, Any]]:
        items = httpx.get(f"{self.url}/storage/v1/b/{BUCKET}/o").json().get("items", [])
        return {item["name"]: item for item in items if not item["name"].endswith("/")}

    def audio(self) -> dict[str, dict[str, Any]]:
        return {name: item for name, item in self.objects().items() if name.endswith("_audio.mp3")}

    def content(self, name: str) -> bytes:
        answer = httpx.get(
            f"{self.url}/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}", params={"alt": "media"}
        )
        assert answer.status_code == 200
        return answer.content


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[None]:
    """``/dev/fuse`` as hosts have it: for everybody, or for root alone."""
    before = FUSE_DEVICE.stat().st_mode
    arguments = getattr(request.node, "callspec", None)
    is_roots = request.node.get_closest_marker("roots_device") or (
        arguments is not None and arguments.params.get("user") == "0"
    )
    FUSE_DEVICE.chmod(0o600 if is_roots else 0o666)
    yield
    FUSE_DEVICE.chmod(before)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = (
        "-scheme",
        "http",
        "-host",
        "127.0.0.1",
        "-port",
        str(port),
        "-backend",
        "memory",
        "-log-level",
        "error",
    )
    with subprocess.Popen(
        [SERVER, *words, "-public-host", f"127.0.0.1:{port}", "-external-url", url]
    ) as server:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    made = httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": BUCKET})
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert made.status_code == 200
            yield Cloud(url)
        finally:
            server.kill()


@contextmanager
def service_folder(ffmpeg: Path, folder: Path, seconds: float) -> Iterator[tuple[str, ...]]:
    """Options of a container with one recording, settings and a database that outlives it."""
    [made] = generate(folder / "samples", ffmpeg, seconds=seconds, keys=frozenset({"moov_last"}))
    for name in ("in", "data", "configs"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    made.path.rename(folder / "in" / "Weekly (2025-01-29 at 10:00 GMT).mp4")
    values = {
        "environment": "staging",
        "sources": {"local": {"path": "/in", "settle_seconds": 0}},
        "processing": {"ffmpeg": {"encoders": 1}},
        "monitoring": {"dashboard_port": 0, "health_port": 0},
    }
    (folder / "configs" / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
    volumes = {"in": "/in:ro", "data": "/app/data", "configs": "/app/configs:ro"}
    yield (
        *(word for name, place in volumes.items() for word in ("--volume", f"{folder / name}:{place}")),
        *("--env", "AUDIO_EXTRACT_CONFIG=/app/configs/audio_extract_config.yaml"),
    )


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def mp3_seconds(ffmpeg: Path, content: bytes, folder: Path) -> float:
    (folder / "stored.mp3").write_bytes(content)
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        folder / "stored.mp3",
        "-ac",
        "1",
        "-ar",
        "8000",
        "-f",
        "s16le",
        "-",
    ]
    return len(subprocess.run(command, capture_output=True, check=True).stdout) / 16_000


@pytest.mark.parametrize("user", USERS)
def test_audio_that_is_written_through_the_mount_is_read_back_through_the_api(
    cloud: Cloud, ffmpeg: Path, tmp_path: Path, user: str
) -> None:
    with service_folder(ffmpeg, tmp_path, 8) as options:
        done = run("once", options=(*cloud.options, *options, "--user", user))
        assert done.code == 0, done.err
        assert f"gs://{BUCKET} is mounted at /mnt/audio-extracts" in done.err
        [(name, item)] = cloud.audio().items()
        assert name == "staging/2025/01/Weekly_2025-01-29_10-00_audio.mp3"
        content = cloud.content(name)
        assert (item["size"], item["crc32c"]) == (str(len(content)), crc32c(content))
        assert mp3_seconds(ffmpeg, content, tmp_path) == pytest.approx(8, abs=0.2)
        assert not [name for name in cloud.objects() if "audio-extract" in Path(name).name]
        before = item["generation"]
        done = run("once", options=(*cloud.options, *options, "--user", user))
        assert done.code == 0, done.err
        assert cloud.audio()[name]["generation"] == before


@pytest.mark.roots_device
def test_where_the_device_is_roots_user_1000_is_told_to_start_as_root(cloud: Cloud) -> None:
    done = run("version", options=(*cloud.options, "--user", "1000"))
    assert (done.code, "where /dev/fuse is for root alone, also with --user 0" in done.err) == (2, True)


def test_root_is_given_up_once_the_bucket_is_mounted(cloud: Cloud) -> None:
    told = ("--user", "0", "--entrypoint", "docker-entrypoint.sh")
    done = run("version", options=(*cloud.options, *told))
    assert (done.code, "audio-extract " in done.out) == (0, True), done.err
    with started("demo", "--port", "0", "--seconds", "1", options=(*cloud.options, *told)) as container:
        container.wait_for("the service runs")
        script = "cat /proc/[0-9]*/status 2>/dev/null | grep -E '^(Name|Uid|CapEff)'"
        lines = container.execute("sh", "-c", script).out.splitlines()
        ours = [lines[at + 1 : at + 3] for at, line in enumerate(lines) if "audio-extract" in line]
        assert ours
        assert all("1000" in uid and set(caps.split()[1]) == {"0"} for uid, caps in ours), lines
        assert container.stop() == 0, container.log()


def program_pid(container: Container) -> str:
    return container.execute("sh", "-c", "grep -l audio-extract /proc/[0-9]*/comm").out.split("/")[2]


@pytest.mark.parametrize("user", USERS)
def test_a_file_that_a_kill_left_half_written_is_whole_after_the_next_start(
    cloud: Cloud, ffmpeg: Path, tmp_path: Path, user: str
) -> None:
    with service_folder(ffmpeg, tmp_path, 1200) as options:
        everything = (*cloud.options, *options, "--user", user)
        with started("run", options=everything) as container:
            find = "find /mnt/audio-extracts -name '*_audio.mp3' -size +100k"
            deadline = time.monotonic() + 60
            while not container.execute("sh", "-c", find).out.strip():
                assert time.monotonic() < deadline, container.log()
                assert container.inspect()["State"]["Running"], container.log()
            # The image has no program of this name, only the shell has.
            killed = container.execute("sh", "-c", f"kill -KILL {program_pid(container)}")
            assert killed.code == 0, killed.err
            assert container.exit_code() == 137
        [(name, half)] = cloud.audio().items()
        assert mp3_seconds(ffmpeg, cloud.content(name), tmp_path) < 1190
        done = run("once", options=everything)
        assert done.code == 0, done.err
        [(again, whole)] = cloud.audio().items()
        assert (again, int(whole["size"]) > int(half["size"])) == (name, True)
        content = cloud.content(name)
        assert whole["crc32c"] == crc32c(content)
        assert mp3_seconds(ffmpeg, content, tmp_path) == pytest.approx(1200, abs=0.5)


def test_a_stop_finishes_what_is_under_way_and_unmounts(cloud: Cloud, ffmpeg: Path, tmp_path: Path) -> None:
    with (
        service_folder(ffmpeg, tmp_path, 300) as options,
        started("run", options=(*cloud.options, *options)) as container,
    ):
        container.wait_for("the service runs")
        assert container.stop() == 0, container.log()
        assert "still mounted" not in container.log()
        content = [cloud.content(name) for name in cloud.audio()]
        assert all(mp3_seconds(ffmpeg, one, tmp_path) == pytest.approx(300, abs=0.5) for one in content)


def test_what_a_bucket_that_is_not_there_does_not_take_is_not_taken_for_stored(
    cloud: Cloud, ffmpeg: Path, tmp_path: Path
) -> None:
    """With ``--enable-hns=false``, which the stand-in needs, gcsfuse mounts any name."""
    with service_folder(ffmpeg, tmp_path, 4) as options:
        done = run("once", options=(*cloud.options, *options, "--env", "GCS_BUCKET_NAME=nowhere"))
    assert done.code in {1, 2, 5}, done.err
    assert "0 stored" in done.out or done.code != 1
    assert "Traceback" not in done.err
    assert cloud.objects() == {}


def test_a_bucket_that_does_not_answer_is_said_and_nothing_starts(cloud: Cloud) -> None:
    elsewhere = "--custom-endpoint http://127.0.0.1:9/storage/v1/ --enable-hns=false --anonymous-access"
    done = run("once", options=(*cloud.options, "--env", f"GCSFUSE_OPTS={elsewhere}"))
    assert done.code == 2
    assert f"gs://{BUCKET} could not be mounted" in done.err
    assert "reaches Google" in done.err
