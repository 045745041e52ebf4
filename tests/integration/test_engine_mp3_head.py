"""The head of an MP3 in a bucket says its length also where nothing said it beforehand."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.engine import serve

#: `upload.chunk_size_mb` as it is by default.
CHUNK_BYTES = 8 * 1024 * 1024
#: Encoded audio leaves in chunks of this size otherwise.
ENCODED_CHUNK_BYTES = 2 * 1024 * 1024


def test_a_webm_of_some_minutes_gets_its_length_although_nobody_knew_it(tmp_path: Path, ffmpeg: Path) -> None:
    recording = tmp_path / "meeting.webm"
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=75", "-ac", "2")
    subprocess.run([ffmpeg, "-v", "error", *sound, "-c:a", "libopus", "-b:a", "64k", recording], check=True)
    for stage in serve(recording, ffmpeg):
        request = stage.request(codec="mp3", audio={"codec": "mp3", "bitrate_bps": 320_000})
        assert request["sink"]["kind"] == "gcs"
        request["sink"]["chunk_size_bytes"] = CHUNK_BYTES
        stage.transfer(request)
        stored = stage.stored()
        assert stored is not None
        assert ENCODED_CHUNK_BYTES < len(stored) < CHUNK_BYTES
        at = stored.index(b"Info")
        flags = int.from_bytes(stored[at + 4 : at + 8], "big")
        assert flags & 1, "the head says no number of frames"
        # 75 s, and the frames that the encoder adds at both ends.
        frames = int.from_bytes(stored[at + 8 : at + 12], "big")
        assert 75 * 48_000 / 1152 <= frames <= 75 * 48_000 / 1152 + 3
