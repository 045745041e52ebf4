"""Entry point of ``audio-extract`` and ``python -m audio_extract``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    if getattr(sys, "frozen", False):
        from audio_extract.frozen import prepare

        prepare()
    from audio_extract.cli.app import run

    run()


if __name__ == "__main__":
    main()
