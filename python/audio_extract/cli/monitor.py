"""``python -m audio_extract.cli.monitor``: the earlier service's command line, on the present service."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_extract.cli import errors
from audio_extract.cli.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Return the flags."""
    made = argparse.ArgumentParser(
        prog="python -m audio_extract.cli.monitor",
        description="Watch a Google Drive folder and store the audio of its recordings. "
        "The same service as `audio-extract run`.",
    )
    made.add_argument("--config", "-c", type=Path, metavar="FILE", help="the settings file")
    made.add_argument("--folder-id", "-f", metavar="ID", help="the Drive folder")
    made.add_argument("--output", "-o", type=Path, metavar="DIR", help="store audio in this folder")
    made.add_argument("--interval", "-i", type=int, metavar="SECONDS", help="how often to look")
    made.add_argument("--days-back", "-d", type=int, metavar="DAYS", help="how far to look back")
    made.add_argument("--credentials", type=Path, metavar="FILE", help="key file of the service account")
    made.add_argument("--once", action="store_true", help="one round, then exit")
    made.add_argument(
        "--test", action="store_true", help="only test settings, FFmpeg, folder and destination"
    )
    made.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR")
    made.add_argument("--health-port", type=int, metavar="PORT", help="port of the probes")
    made.add_argument("--no-health-check", action="store_true", help="serve no probes")
    made.add_argument("--no-dashboard", action="store_true", help="serve no page")
    return made


def overrides(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as settings."""
    values: dict[str, Any] = {
        "google_drive": {
            "recordings_folder_id": flags.folder_id,
            "check_interval_seconds": flags.interval,
            "days_to_look_back": flags.days_back,
            "service_account_file": flags.credentials,
        },
        "monitoring": {
            "log_level": flags.log_level,
            "health_port": flags.health_port,
            "enable_health_check": False if flags.no_health_check else None,
            "enable_dashboard": False if flags.no_dashboard else None,
        },
    }
    if flags.output is not None:
        values["storage"] = {"type": "local", "local": {"path": flags.output}}
    return values


def main(words: Sequence[str] | None = None) -> int:
    """Run the monitor and return its exit code.

    Args:
        words: The command line; the process's own by default.
    """
    flags = parser().parse_args(words)
    invocation = Invocation(config=flags.config)
    try:
        settings = invocation.settings(overrides(flags))
        if flags.test:
            from audio_extract.cli.check import check_all, print_findings

            findings = check_all(settings)
            return print_findings(findings)
        if flags.once or settings.behavior.run_mode == "once":
            from audio_extract.cli.once import exit_code, run_round, summary

            report = run_round(settings, invocation)
            print(summary(report))
            return exit_code(report, fail_if_empty=False)
        from audio_extract.cli.serving import serve

        serve(settings, invocation)
    except BaseException as error:  # noqa: BLE001 - here everything becomes an exit code
        return errors.exit_code(error, invocation)
    return errors.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
