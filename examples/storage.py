#!/usr/bin/env python3
"""Stores a file where the settings say, finds it again, links to it, and removes it.

    python examples/storage.py SETTINGS.yaml FILE

A bucket or a folder: the verbs are the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audio_extract.exceptions import AudioExtractError, DestinationExistsError
from audio_extract.settings import load_settings
from audio_extract.storage import StorageFactory


def main(settings_file: Path, file: Path) -> None:
    """Show each verb of a destination once."""
    storage = StorageFactory.create(load_settings(settings_file))
    name = f"examples/{file.name}"
    try:
        stored = storage.save(
            file, name, metadata={"source-id": "example"}, content_type="application/octet-stream"
        )
    except DestinationExistsError:
        # Nothing is ever written over.
        sys.exit(f"something else is stored as {name}")
    print(f"stored     {stored.name}: {stored.size_bytes} bytes, CRC32C {stored.crc32c}")
    print(f"exists     {storage.exists(name)}")
    print(f"link       {storage.get_url(name)}")
    print(f"listed     {[one.name for one in storage.list_files('examples/')]}")
    storage.delete(name, stored.generation)
    print(f"deleted    exists {storage.exists(name)}")
    storage.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except AudioExtractError as error:
        sys.exit(f"error: {error}")
