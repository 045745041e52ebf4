#!/usr/bin/env python3
"""Takes the audio out of every recording in a folder, and writes a table of what came of it.

    python examples/batch.py RECORDINGS AUDIO [TABLE.csv]

A recording whose audio is there already is left out, so the script can be started again at any time. It ends
with 1 when one failed.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".m4a"}
COLUMNS = ("source", "output", "audio_seconds", "source_size_bytes", "size_bytes", "elapsed_seconds", "error")


def main(recordings: Path, audio: Path, table: Path) -> int:
    """Return the exit code."""
    wanted = [
        path
        for path in sorted(recordings.rglob("*"))
        if path.suffix.lower() in MEDIA and not (audio / f"{path.stem}.mp3").exists()
    ]
    if not wanted:
        print("nothing to do")
        return 0
    # One process for all of them: it has one result a line, and goes on after one that failed.
    extract = [sys.executable, "-m", "audio_extract", "extract", "--json", "-o", f"{audio}/"]
    done = subprocess.run([*extract, *map(str, wanted)], stdout=subprocess.PIPE, text=True, check=False)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for result in results:
            writer.writerow({**result, "error": result.get("error", {}).get("message", "")})
    failed = sum("error" in result for result in results)
    print(f"{len(results) - failed} extracted, {failed} failed: {table}")
    return 1 if failed or done.returncode else 0


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3] if sys.argv[3:] else "audio.csv")))
