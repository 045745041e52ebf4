"""What the engine would hand back, for tests of those who read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audio_extract.engine_types import TransferReport

SECOND = 1_000_000_000


def transfer_report() -> TransferReport:
    return {
        "stored": {
            "size_bytes": 10,
            "crc32c": "AAAAAA==",
            "md5": None,
            "generation": 1,
            "content_type": None,
        },
        "strategy": "parallel",
        "fallback_reason": None,
        "source_size_bytes": 100,
        "fetched_bytes": 40,
        "audio_seconds": 1.5,
        "chunks": None,
        "about": {"title": None, "created_unix_seconds": None, "chapters": []},
        "outputs": [],
        "sound": None,
        "source_requests": {"ok": 2},
        "sink_requests": {"ok": 1},
        "retries": {"source.server_error": 1},
        "ffmpeg_version": None,
        "ffmpeg_arguments": [],
        "ffmpeg_cpu_seconds": 0.0,
        "peak_permits_bytes": 0,
        "stages": [
            {
                "name": "fetch.ranges",
                "start_unix_nanos": 10 * SECOND,
                "end_unix_nanos": 12 * SECOND,
                "attributes": {"requests": 2, "url": "https://h/x?access_token=canary"},
                "events": [{"name": "retry", "unix_nanos": 11 * SECOND, "attributes": {"reason": "503"}}],
            },
            {
                "name": "upload",
                "start_unix_nanos": 11 * SECOND,
                "end_unix_nanos": 13 * SECOND,
                "attributes": {},
                "events": [],
            },
        ],
    }
