#!/usr/bin/env python3
"""The peer most people have: download to disk, FFmpeg, upload from disk, one after the other.

As its users write it: ``MediaIoBaseDownload`` with its default chunk size, ``subprocess`` for FFmpeg,
``Blob.upload_from_filename`` with its defaults. ``DRIVE_EMULATOR_HOST`` and ``STORAGE_EMULATOR_HOST`` point
it at emulators, with anonymous credentials. Prints its flags and one JSON line with the seconds of each step.

Example:
    sequential.py --bucket BUCKET FILE_ID… --ffmpeg /usr/bin/ffmpeg -- -vn -c:a libmp3lame -b:a 128k

With ``--threads N`` so many files at a time; with ``--url URL`` there is no download: FFmpeg reads the URL.
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
from concurrent.futures import ThreadPoolExecutor
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


def download(file_id: str, video: Path) -> None:
    """Download one file; each has a client of its own, which is not thread-safe."""
    request = drive_service().files().get_media(fileId=file_id, supportsAllDrives=True)
    with video.open("wb") as file:
        downloader = MediaIoBaseDownload(file, request)
        done = False
        while not done:
            _, done = downloader.next_chunk()


def work(file_id: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Carry out one recording; gives the seconds of each step."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="sequential-") as folder:
        video = Path(folder, "recording")
        audio = Path(folder, f"audio{arguments.suffix}")

        start = time.perf_counter()
        if arguments.url is None:
            download(file_id, video)
            seconds["download"] = time.perf_counter() - start

        start = time.perf_counter()
        command = [
            *(arguments.ffmpeg, "-hide_banner", "-nostdin", "-y", "-i", arguments.url or str(video)),
            *arguments.ffmpeg_args,
            str(audio),
        ]
        print(shlex.join(command), file=sys.stderr)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds["ffmpeg"] = time.perf_counter() - start

        start = time.perf_counter()
        blob = storage_client().bucket(arguments.bucket).blob(f"{file_id}{arguments.suffix}")
        blob.upload_from_filename(str(audio))
        seconds["upload"] = time.perf_counter() - start
    return seconds


def main() -> None:
    """Carry out the recordings and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_ids", nargs="+")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--ffmpeg", default="ffmpeg")
    parser.add_argument("--threads", type=int, default=1, help="files at a time")
    parser.add_argument("--url", help="FFmpeg reads this itself; nothing is downloaded")
    parser.add_argument(
        "--suffix", default=".mp3", help="of the local result; FFmpeg chooses the muxer by it"
    )
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:cut])
    # After --: FFmpeg's output options.
    arguments.ffmpeg_args = words[cut + 1 :]
    print(f"MediaIoBaseDownload chunksize={DEFAULT_CHUNK_SIZE} (default)", file=sys.stderr)
    print("Blob.upload_from_filename (defaults)", file=sys.stderr)
    with ThreadPoolExecutor(arguments.threads) as pool:
        steps = list(pool.map(lambda file_id: work(file_id, arguments), arguments.file_ids))
    print(json.dumps({"steps": steps, "total_seconds": sum(sum(step.values()) for step in steps)}))


if __name__ == "__main__":
    main()
