#!/usr/bin/env python3
"""The peer most people have: download to disk, FFmpeg, upload from disk, one after the other.

As its users write it: ``MediaIoBaseDownload`` with its default chunk size, ``subprocess`` for FFmpeg,
``Blob.upload_from_filename`` with its defaults. ``DRIVE_EMULATOR_HOST`` and ``STORAGE_EMULATOR_HOST`` point
it at emulators, with anonymous credentials. Prints its flags and one JSON line with the seconds of each step.

Example:
    sequential.py FILE_ID BUCKET OBJECT --ffmpeg /usr/bin/ffmpeg -- -vn -c:a libmp3lame -b:a 128k
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build
from googleapiclient.http import DEFAULT_CHUNK_SIZE, MediaIoBaseDownload


def drive_service() -> Any:
    """Return Google's Drive client, for an emulator where the environment names one."""
    host = os.environ.get("DRIVE_EMULATOR_HOST")
    if host is None:
        return build("drive", "v3", static_discovery=True)
    return build(
        "drive",
        "v3",
        static_discovery=True,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"{host}/drive/v3/"},
    )


def storage_client() -> storage.Client:
    """Return Google's Storage client, for an emulator where the environment names one."""
    if os.environ.get("STORAGE_EMULATOR_HOST") is None:
        return storage.Client()
    return storage.Client(project="bench", credentials=AnonymousCredentials())


def main() -> None:
    """Carry out one recording and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_id")
    parser.add_argument("bucket")
    parser.add_argument("object")
    parser.add_argument("--ffmpeg", default="ffmpeg")
    parser.add_argument(
        "--suffix", default=".mp3", help="of the local result; FFmpeg chooses the muxer by it"
    )
    parser.add_argument("ffmpeg_args", nargs="*", help="after --: FFmpeg's output options")
    arguments = parser.parse_args()

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="sequential-") as folder:
        video = Path(folder, "recording")
        audio = Path(folder, f"audio{arguments.suffix}")
        command = [
            *(arguments.ffmpeg, "-hide_banner", "-nostdin", "-y", "-i", str(video)),
            *arguments.ffmpeg_args,
            str(audio),
        ]
        print(f"MediaIoBaseDownload chunksize={DEFAULT_CHUNK_SIZE} (default)", file=sys.stderr)
        print(shlex.join(command), file=sys.stderr)
        print("Blob.upload_from_filename (defaults)", file=sys.stderr)

        start = time.perf_counter()
        request = drive_service().files().get_media(fileId=arguments.file_id, supportsAllDrives=True)
        with video.open("wb") as file:
            downloader = MediaIoBaseDownload(file, request)
            done = False
            while not done:
                _, done = downloader.next_chunk()
        seconds["download"] = time.perf_counter() - start

        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds["ffmpeg"] = time.perf_counter() - start

        start = time.perf_counter()
        blob = storage_client().bucket(arguments.bucket).blob(arguments.object)
        blob.upload_from_filename(str(audio))
        seconds["upload"] = time.perf_counter() - start

        result = {
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "total_seconds": round(sum(seconds.values()), 3),
            "source_bytes": video.stat().st_size,
            "stored_bytes": audio.stat().st_size,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
