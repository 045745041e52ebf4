"""``audio-extract emulator``: emulated Drive and Cloud Storage for other programs, until a signal."""

from __future__ import annotations

import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from audio_extract.cli.invocation import Invocation, command


@command
def emulator(
    invocation: Invocation,
    *,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(help="Files to put into the folder; without any, the demo's samples.", exists=True),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    drive_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9010,
    storage_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9011,
    folder_id: Annotated[str, typer.Option(help="The id of the Drive folder.")] = "demo-recordings",
    bucket: Annotated[str, typer.Option(help="The bucket to make.")] = "demo-audio",
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Length of each sample.")] = 60,
    samples: Annotated[
        Path | None,
        typer.Option(help="Only make the sample recordings, in this folder, and end.", show_default=False),
    ] = None,
) -> None:
    """Emulate Drive and Cloud Storage for development. Everything is forgotten at the end."""
    from audio_extract.cli.inputs import ffmpeg_of
    from audio_extract.cli.interrupt import watching_signals
    from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
    from audio_extract.emulator.samples import generate

    if samples is not None:
        for made in generate(samples, Path(ffmpeg_of(invocation)["path"]), seconds=seconds):
            typer.echo(str(made.path))
        return
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(watching_signals(stop.set))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audio-extract-emulator-")))
        drive = DriveEmulator(directory=folder)
        storage = StorageEmulator(directory=folder)
        drive.add_folder("Meet Recordings", item_id=folder_id)
        storage.create_bucket(bucket)
        if recordings:
            for path in recordings:
                drive.add_file(path, name=path.name, parent=folder_id)
        else:
            ffmpeg = Path(ffmpeg_of(invocation)["path"])
            for made in generate(folder / "samples", ffmpeg, seconds=seconds):
                drive.add_file(
                    made.path,
                    name=made.name,
                    parent=folder_id,
                    mime_type=made.sample.mime_type,
                    created_time=made.created_time,
                )
        drive_server = stack.enter_context(EmulatorServer(drive, host=host, port=drive_port))
        storage_server = stack.enter_context(EmulatorServer(storage, host=host, port=storage_port))
        typer.echo(f"DRIVE_EMULATOR_HOST={drive_server.url}")
        typer.echo(f"STORAGE_EMULATOR_HOST={storage_server.url}")
        typer.echo(f"AUDIO_EXTRACT_FOLDER_ID={folder_id}")
        typer.echo(f"GCS_BUCKET_NAME={bucket}")
        invocation.say("the emulators answer; Ctrl-C or SIGTERM ends them")
        # With a time limit, so that Python gets to run the handler.
        while not stop.wait(0.2):
            pass
