"""Looks with other eyes at what the service stored: Google's own client, and FFmpeg's own decoder.

Used by ``demo --once`` against the emulators and by ``make test-real`` against Google, so that both make the
same assertions.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from audio_extract.tracker.tracker import Tracker
    from audio_extract.tracker.values import RecordingRow

#: Samples of one MP3 frame (MPEG-1 layer III), and the rate both sides are decoded at to be compared.
_FRAME_SAMPLES: Final = 1152
_COMPARE_RATE: Final = 44_100
_DECODE_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have become of one recording.

    Attributes:
        source_id: Its id in the source.
        name: Its name there.
        error_code: The code its transfer must end with; None for a good one.
        content: The recording as a file, to decode it independently.
    """

    source_id: str
    name: str
    error_code: str | None
    content: Path


class Verifier:
    """Compares the tracker, the bucket and the recordings themselves.

    Args:
        tracker: What the service wrote down.
        bucket: Google's client's view of the bucket (``google.cloud.storage.Bucket``).
        prefix: What object names begin with.
        ffmpeg: Decodes both sides.
    """

    def __init__(self, tracker: Tracker, bucket: Any, prefix: str, ffmpeg: Path) -> None:
        self.tracker = tracker
        self._bucket = bucket
        self._ffmpeg = ffmpeg
        when = r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}"
        self._name = re.compile(rf"{re.escape(prefix)}/\d{{4}}/\d{{2}}/.+_{when}_audio\.mp3")

    def problems(self, expected: Iterable[Expected]) -> list[str]:
        """Return what is not as it must be, one sentence each; nothing when all is well."""
        found: list[str] = []
        for one in expected:
            row = self.tracker.find(one.source_id)
            if row is None:
                found.append(f"{one.name}: the tracker does not know it")
            elif one.error_code is None:
                found.extend(f"{one.name}: {text}" for text in self._stored(one, row))
            else:
                found.extend(f"{one.name}: {text}" for text in _failed(one, row))
        return found

    def objects(self) -> dict[str, int]:
        """Return every audio object of the bucket with its generation."""
        return {
            blob.name: blob.generation
            for blob in self._bucket.list_blobs()
            if self._name.fullmatch(blob.name)
        }

    def _stored(self, expected: Expected, row: RecordingRow) -> Iterable[str]:
        if row.status != "completed" or row.storage_path is None:
            yield f"is {row.status} and not completed: {row.error_message}"
            return
        if not self._name.fullmatch(row.storage_path):
            yield f"stands under the unexpected name {row.storage_path}"
        blob = self._bucket.get_blob(row.storage_path)
        if blob is None:
            yield f"{row.storage_path} is not in the bucket"
            return
        if blob.crc32c != row.crc32c:
            yield f"the bucket has CRC32C {blob.crc32c}, the database {row.crc32c}"
        if blob.size != row.stored_size_bytes:
            yield f"the bucket has {blob.size} bytes, the database {row.stored_size_bytes}"
        with tempfile.TemporaryDirectory(prefix="audio-extract-verify-") as folder:
            audio = Path(folder, "audio.mp3")
            blob.download_to_filename(str(audio))
            if (crc := crc32c_of(audio)) != row.crc32c:
                yield f"what the bucket gives has CRC32C {crc}, the database {row.crc32c}"
            difference = self.decoded_samples(audio) - self.decoded_samples(expected.content)
            if abs(difference) > _FRAME_SAMPLES:
                yield f"plays {difference / _COMPARE_RATE:+.3f} s longer than the recording"

    def decoded_samples(self, path: Path) -> int:
        """Return how many samples FFmpeg decodes from the first sound track, at 44.1 kHz."""
        command = [str(self._ffmpeg), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:a:0"]
        command += ["-ac", "1", "-ar", str(_COMPARE_RATE), "-f", "s16le", "pipe:1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as decoder:  # noqa: S603 - our own FFmpeg
            assert decoder.stdout is not None  # noqa: S101 - asked for one line above
            total = 0
            while piece := decoder.stdout.read(1 << 20):
                total += len(piece)
        return total // 2


def _failed(expected: Expected, row: RecordingRow) -> Iterable[str]:
    from audio_extract.failure_texts import failure_text

    if row.status not in {"failed", "quarantined"}:
        yield f"is {row.status}, but cannot work ({expected.error_code})"
        return
    if row.error_code != expected.error_code:
        yield f"failed with {row.error_code} and not with {expected.error_code}"
    text = failure_text(row.error_code or "", row.name, row.error_message or "")
    if expected.name not in text or len(text) < len(expected.name) + 20:
        yield f"its message does not say what happened: {text!r}"


def crc32c_of(path: Path) -> str:
    """Return the CRC32C of a file, in base64, computed without our engine."""
    import google_crc32c

    with path.open("rb") as file:
        value = 0
        while piece := file.read(1 << 20):
            value = google_crc32c.extend(value, piece)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def same_objects(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return what changed in the bucket between two looks; nothing when nothing did."""
    return [f"{name} is new in the bucket" for name in after.keys() - before.keys()] + [
        f"{name} is gone or was written again"
        for name, generation in before.items()
        if after.get(name) != generation
    ]
