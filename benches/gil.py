"""How much of its rate a counting Python thread keeps while the engine works: the GIL is free.

Run against the shaped server: ``gil.py http://127.0.0.1:PORT FILE_ID``. Counts for three seconds idle, then
during a fetch-bound ``copy``, and prints the ratio (pairs, median).
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

from audio_extract import _engine


def count_while(event: threading.Event) -> tuple[int, float]:
    """Count until the event is set; gives the count and the seconds."""
    number = 0
    start = time.perf_counter()
    while not event.is_set():
        number += 1
    return number, time.perf_counter() - start


def rate_during(work: object) -> float:
    """Counts a second while ``work`` runs in another thread."""
    done = threading.Event()

    def run() -> None:
        assert callable(work)
        work()
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    number, seconds = count_while(done)
    thread.join()
    return number / seconds


def main() -> None:
    """Measure three pairs."""
    url, file_id = sys.argv[1:3]

    def copy() -> None:
        _engine.transfer(
            {
                "source": {
                    "kind": "http",
                    "url": f"{url}/drive/v3/files/{file_id}?alt=media",
                    "authenticated": False,
                },
                "sink": {
                    "kind": "gcs",
                    "endpoint": url,
                    "bucket": "bench",
                    "object": "gil.m4a",
                    "authenticated": False,
                    "content_type": "audio/mp4",
                    "metadata": {},
                },
                "audio": {"codec": "copy"},
                "ffmpeg": {"path": "ffmpeg"},
            }
        )

    ratios = []
    for number in range(3):
        idle = rate_during(lambda: time.sleep(3))
        busy = rate_during(copy)
        ratios.append(busy / idle)
        print(f"{number + 1}/3: {idle / 1e6:.2f} M/s idle, {busy / 1e6:.2f} M/s busy: {busy / idle:.3f}")
    print(f"median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
