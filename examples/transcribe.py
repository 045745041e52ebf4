#!/usr/bin/env python3
"""Hands audio over to speech recognition as it becomes ready.

    python examples/transcribe.py EVENTS.jsonl COMMAND…

The service writes a line for each recording (`monitoring.notifications.file.path`), and makes 16 kHz mono
FLAC beside the audio (`processing.outputs: [speech]`). For each new line COMMAND is run with the file as its
last word, for example `whisper --language en`; what it prints is stored as text beside the file.

A recording is handed over once: what is done is noted in EVENTS.jsonl.done. Start it from cron, or after
`audio-extract once`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit


def ready(events: Path) -> Iterator[tuple[str, Path]]:
    """Give the id and the audio of each event that is new."""
    done = events.with_name(f"{events.name}.done")
    known = set(done.read_text("utf-8").split()) if done.exists() else set()
    # Not splitlines(): a recording's name may have other signs that end a line.
    for line in filter(None, events.read_text("utf-8").split("\n")):
        event = json.loads(line)
        # An event may come twice; its id stays the same.
        if event["type"] != "audio-extract.recording.completed" or event["id"] in known:
            continue
        data = event["data"]
        speech = next((one for one in data.get("outputs", []) if one["name"] == "speech"), data)
        url = urlsplit(speech["url"])
        if url.scheme != "file":
            sys.exit(f"{speech['url']} is not on this machine: fetch it first (gcloud storage cp)")
        yield event["id"], Path(unquote(url.path))
        with done.open("a", encoding="utf-8") as file:
            file.write(f"{event['id']}\n")


def main(events: Path, command: list[str]) -> None:
    """Hand over what is new."""
    for number, audio in ready(events):
        said = subprocess.run([*command, str(audio)], stdout=subprocess.PIPE, check=True).stdout
        text = audio.with_suffix(".txt")
        text.write_bytes(said)
        print(f"{number}: {text}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
