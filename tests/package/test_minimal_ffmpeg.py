"""The FFmpeg that executable and image carry reads what a full one reads, with the same result.

`make test-ffmpeg` runs it. The corpus is what recordings come in and the full FFmpeg here can write, and
the demo's samples, bad ones included.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from audio_extract.emulator.samples import SAMPLES, Recording, generate
from support.cli import Outcome, run_cli

MINIMAL = os.environ.get("AUDIO_EXTRACT_TEST_FFMPEG", "")
VARIABLE = "AUDIO_EXTRACT__PROCESSING__FFMPEG__PATH"

pytestmark = pytest.mark.skipif(
    not MINIMAL, reason="the minimal FFmpeg: AUDIO_EXTRACT_TEST_FFMPEG (make test-ffmpeg)"
)

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=10:duration=2")
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2:sample_rate=48000")

#: (file name extension, output arguments)
KINDS = [
    ("mp4", ("-c:v", "libx264", "-c:a", "aac")),
    ("mp4", ("-c:v", "libx265", "-c:a", "libmp3lame")),
    ("mp4", ("-c:v", "mpeg4", "-c:a", "ac3")),
    ("mp4", ("-c:v", "libx264", "-c:a", "flac", "-strict", "-2")),
    ("mov", ("-c:v", "libx264", "-c:a", "pcm_s16le")),
    ("mov", ("-c:v", "mjpeg", "-c:a", "alac")),
    ("3gp", ("-c:v", "h263", "-s", "176x144", "-c:a", "aac")),
    ("mkv", ("-c:v", "libx264", "-c:a", "libopus")),
    ("mkv", ("-c:v", "libx264", "-c:a", "libvorbis")),
    ("mkv", ("-c:v", "libx264", "-c:a", "eac3")),
    ("mkv", ("-c:v", "libx264", "-c:a", "dca", "-strict", "-2")),
    ("mkv", ("-c:v", "libx264", "-c:a", "truehd", "-strict", "-2")),
    ("webm", ("-c:v", "libvpx", "-c:a", "libopus")),
    ("webm", ("-c:v", "libvpx-vp9", "-c:a", "libvorbis")),
    ("ts", ("-c:v", "libx264", "-c:a", "aac")),
    ("ts", ("-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2")),
    ("mpg", ("-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2")),
    ("avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame")),
    ("avi", ("-c:v", "mpeg4", "-c:a", "adpcm_ms")),
    ("flv", ("-c:v", "flv", "-ar", "44100", "-c:a", "libmp3lame")),
    ("flv", ("-c:v", "libx264", "-c:a", "aac")),
    ("wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
    ("wav", ("-vn", "-c:a", "pcm_s24le")),
    ("wav", ("-vn", "-c:a", "pcm_mulaw")),
    ("wav", ("-vn", "-c:a", "adpcm_ima_wav")),
    ("w64", ("-vn", "-c:a", "pcm_s16le")),
    ("aiff", ("-vn", "-c:a", "pcm_s16be")),
    ("caf", ("-vn", "-c:a", "pcm_s16be")),
    ("flac", ("-vn", "-c:a", "flac")),
    ("mp3", ("-vn", "-c:a", "libmp3lame")),
    ("aac", ("-vn", "-c:a", "aac")),
    ("ogg", ("-vn", "-c:a", "libvorbis")),
    ("ogg", ("-vn", "-c:a", "libspeex", "-ar", "16000")),
    ("opus", ("-vn", "-c:a", "libopus")),
]


def named(kind: tuple[str, tuple[str, ...]]) -> str:
    return "-".join(
        (kind[0], *(word for word in kind[1] if not word.startswith("-") and not word[0].isdigit()))
    )


def made(ffmpeg: Path, path: Path, *arguments: str) -> Path:
    command = [ffmpeg, "-v", "error", "-nostdin", *PICTURE, *SOUND, *arguments, "-shortest", path]
    subprocess.run(command, check=True, capture_output=True)
    return path


def decoded(ffmpeg: Path | str, path: Path) -> str:
    """MD5 of the samples, read as the service reads: through a pipe."""
    with path.open("rb") as file:
        command = [ffmpeg, "-v", "error", "-i", "pipe:0", "-map", "0:a:0", "-f", "md5", "-"]
        done = subprocess.run(command, stdin=file, capture_output=True, check=True)
    assert done.stdout.startswith(b"MD5=")
    return done.stdout.decode()


def extracted(ffmpeg: Path | str, path: Path, folder: Path, *words: str) -> tuple[Outcome, bytes]:
    folder.mkdir()
    done = run_cli("extract", path, "-o", folder / "out.mp3", *words, cwd=folder, env={VARIABLE: str(ffmpeg)})
    out = folder / "out.mp3"
    return done, out.read_bytes() if out.is_file() else b""


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_it_decodes_the_same_samples(ffmpeg: Path, tmp_path: Path, kind: tuple[str, tuple[str, ...]]) -> None:
    suffix, arguments = kind
    path = made(ffmpeg, tmp_path / f"it.{suffix}", *arguments)
    if suffix in {"mp4", "mov", "3gp"}:
        # Their index is at the end; the service itself makes them readable through a pipe.
        full, full_bytes = extracted(ffmpeg, path, tmp_path / "full")
        ours, ours_bytes = extracted(MINIMAL, path, tmp_path / "ours")
        assert full.code == ours.code == 0, full.err + ours.err
        assert full_bytes == ours_bytes != b""
        return
    assert decoded(MINIMAL, path) == decoded(ffmpeg, path)


@pytest.fixture(scope="module")
def samples(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    recordings = generate(tmp_path_factory.mktemp("samples"), ffmpeg, seconds=4)
    return {recording.sample.key: recording for recording in recordings}


@pytest.mark.parametrize("key", [sample.key for sample in SAMPLES])
@pytest.mark.parametrize("codec", ["mp3", "flac", "copy"])
def test_the_samples_come_to_the_same_end(
    ffmpeg: Path, samples: dict[str, Recording], tmp_path: Path, key: str, codec: str
) -> None:
    path = samples[key].path
    full, full_bytes = extracted(ffmpeg, path, tmp_path / "full", "--codec", codec)
    ours, ours_bytes = extracted(MINIMAL, path, tmp_path / "ours", "--codec", codec)
    assert ours.code == full.code, ours.err
    assert (full_bytes == b"") == (samples[key].sample.error is not None)
    if (key, codec) == ("webm", "copy"):
        # Ogg's serial number is drawn by lot.
        ours_bytes, full_bytes = (
            decoded(ffmpeg, tmp_path / one / "out.mp3").encode() for one in ("ours", "full")
        )
    assert ours_bytes == full_bytes


@pytest.mark.parametrize("codec", ["wavpack", "tta"])
def test_what_it_cannot_decode_is_said_with_what_helps(ffmpeg: Path, tmp_path: Path, codec: str) -> None:
    path = made(ffmpeg, tmp_path / "it.mkv", "-vn", "-c:a", codec)
    done, out = extracted(MINIMAL, path, tmp_path / "ours")
    assert (done.code, out) == (1, b"")
    assert f"is {codec}, and this build of FFmpeg cannot read that" in done.err
    assert VARIABLE in done.err
    assert extracted(ffmpeg, path, tmp_path / "full")[0].code == 0


def test_a_playlist_names_no_other_file(ffmpeg: Path, tmp_path: Path) -> None:
    made(ffmpeg, tmp_path / "secret.wav", "-vn")
    playlist = tmp_path / "it.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n")
    done, out = extracted(MINIMAL, playlist, tmp_path / "ours")
    assert (done.code, out) == (1, b"")


def test_it_is_lgpl_without_network_or_pictures() -> None:
    def said(*words: str) -> str:
        return subprocess.run(
            [MINIMAL, "-hide_banner", *words], capture_output=True, text=True, check=True
        ).stdout

    assert "GNU Lesser General Public" in said("-L")
    protocols = set(said("-protocols").split("Input:")[1].split())
    assert protocols <= {"fd", "file", "pipe", "Output:"}
    decoders = [line.split() for line in said("-decoders").splitlines() if line.startswith(" V")]
    assert [words for words in decoders if words[1] != "="] == []
