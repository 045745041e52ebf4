"""The examples, as somebody runs them who has just found them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recordings(tmp_path: Path, ffmpeg: Path) -> Path:
    """Two recordings, and something that is none."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("Weekly (2025-01-29 at 10:00 GMT).mp4", "Other.mp4"):
        sound = ("-f", "lavfi", "-i", "sine=440:r=48000:d=3", "-c:a", "aac")
        subprocess.run([ffmpeg, "-v", "error", *sound, folder / name], check=True)
    (folder / "broken.mp4").write_bytes(b"not a recording")
    return folder


def run(script: str, *words: Path | str, code: int = 0) -> str:
    command = [sys.executable, EXAMPLES / script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def settings_in(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_goes_through_each_verb_of_a_destination(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, f"storage: {{type: local, local: {{path: {tmp_path / 'audio'}}}}}")
    file = tmp_path / "note.txt"
    file.write_text("hello")
    said = run("storage.py", settings, file)
    assert "stored     examples/note.txt: 5 bytes, CRC32C" in said
    assert "exists     True" in said
    assert "deleted    exists False" in said
    assert not (tmp_path / "audio" / "examples" / "note.txt").exists()


def test_a_folder_becomes_audio_and_a_table_and_a_second_run_only_tries_what_failed(
    recordings: Path, tmp_path: Path
) -> None:
    table = tmp_path / "audio.csv"
    assert run("batch.py", recordings, tmp_path / "audio", table, code=1).startswith("2 extracted, 1 failed")
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert len(rows) == 3
    assert sorted(round(float(row["audio_seconds"])) for row in rows if not row["error"]) == [3, 3]
    (failed,) = [row for row in rows if row["error"]]
    assert "broken.mp4" in failed["error"]
    assert run("batch.py", recordings, tmp_path / "audio", table, code=1).startswith("0 extracted, 1 failed")


def test_each_recording_is_handed_over_to_speech_recognition_once(recordings: Path, tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        f"""
sources: {{local: {{path: {recordings}, settle_seconds: 0}}}}
processing: {{outputs: [speech]}}
storage: {{type: local, local: {{path: {tmp_path / "audio"}}}}}
monitoring:
  database_path: {tmp_path / "audio.db"}
  notifications: {{file: {{path: {tmp_path / "events.jsonl"}}}}}
""",
    )
    once = [sys.executable, "-m", "audio_extract", "once", "--config", settings, "-q"]
    assert subprocess.run(once, capture_output=True, check=False).returncode == 1
    events = tmp_path / "events.jsonl"
    kinds = sorted(json.loads(line)["type"].rpartition(".")[2] for line in events.read_text().splitlines())
    assert kinds == ["completed", "completed", "failed"]
    # What it is given is what speech recognition wants; `file` stands for a program that recognises speech.
    recognise = ("ffprobe", "-v", "error", "-show_entries", "stream=sample_rate,channels")
    said = run("transcribe.py", events, *recognise)
    assert len(said.splitlines()) == 2
    texts = sorted((tmp_path / "audio").rglob("*_speech.txt"))
    assert len(texts) == 2
    assert "sample_rate=16000" in texts[0].read_text()
    assert run("transcribe.py", events, "false") == ""


def test_an_event_of_an_earlier_version_is_read_whole_whatever_the_name(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    lines = []
    for number, sign in enumerate(("\u2028", "\x85", "\x1e", "ö")):
        audio = tmp_path / f"{number}.flac"
        data = {"name": f"Weekly{sign}sync.mp4", "url": audio.as_uri()}
        event = {"id": f"{number}-1", "type": "audio-extract.recording.completed", "data": data}
        lines.append(json.dumps(event, ensure_ascii=False))
    events.write_text("\n".join(lines) + "\n", "utf-8")
    said = run("transcribe.py", events, "echo")
    assert [line.partition(":")[0] for line in said.splitlines()] == ["0-1", "1-1", "2-1", "3-1"]
    assert (tmp_path / "1.txt").read_text() == f"{tmp_path / '1.flac'}\n"
