"""Both emulators in a process of their own: ``python -m audio_extract.emulator``.

For benchmarks and memory measurements, where the servers must not run inside what is measured. Prints one
line of JSON with the addresses, and ends when its standard input does or a signal comes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from audio_extract.emulator import DriveEmulator, EmulatorServer, NetworkShape, StorageEmulator

_MEGABYTE = 1_000_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m audio_extract.emulator", description=__doc__)
    parser.add_argument("recordings", nargs="*", type=Path, help="files to put into one folder of the Drive")
    parser.add_argument("--bucket", default="demo-audio", help="a bucket to make")
    parser.add_argument("--drive-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--storage-port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--connection-mb-per-second", type=float, help="bandwidth of each connection")
    parser.add_argument("--total-mb-per-second", type=float, help="bandwidth of all connections together")
    parser.add_argument("--no-checksums", action="store_true", help="start without reading the recordings")
    return parser.parse_args()


def _shape(options: argparse.Namespace) -> NetworkShape:
    def rate(megabytes: float | None) -> float | None:
        return None if megabytes is None else megabytes * _MEGABYTE

    return NetworkShape(
        latency_seconds=options.latency_ms / 1000,
        connection_bytes_per_second=rate(options.connection_mb_per_second),
        total_bytes_per_second=rate(options.total_mb_per_second),
    )


def _watch() -> threading.Event:
    """An event that happens when standard input ends, or SIGTERM or SIGINT comes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def read_input() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=read_input, daemon=True).start()
    return stop


def main() -> None:
    """Run both emulators until told to end."""
    options = _arguments()
    stop = _watch()
    drive = DriveEmulator(network=_shape(options))
    storage = StorageEmulator(network=_shape(options))
    folder = drive.add_folder("Meet Recordings")
    files = {
        path.name: drive.add_file(
            path, name=path.name, parent=folder, with_checksums=not options.no_checksums
        )
        for path in options.recordings
    }
    storage.create_bucket(options.bucket)
    with (
        EmulatorServer(drive, port=options.drive_port) as drive_server,
        EmulatorServer(storage, port=options.storage_port) as storage_server,
    ):
        addresses = {
            "DRIVE_EMULATOR_HOST": drive_server.url,
            "STORAGE_EMULATOR_HOST": storage_server.url,
            "folder_id": folder,
            "files": files,
            "bucket": options.bucket,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
