"""Entry point of ``audio-extract`` and ``python -m audio_extract``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from audio_extract.cli.app import run

    run()


if __name__ == "__main__":
    main()
