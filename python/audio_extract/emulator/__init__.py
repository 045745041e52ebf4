"""Google Drive and Cloud Storage emulated on loopback, for the demo and the tests."""

from audio_extract.emulator.accounts import ServiceAccount
from audio_extract.emulator.drive import DriveEmulator
from audio_extract.emulator.network import NetworkShape
from audio_extract.emulator.server import EmulatorServer
from audio_extract.emulator.storage import StorageEmulator

__all__ = ["DriveEmulator", "EmulatorServer", "NetworkShape", "ServiceAccount", "StorageEmulator"]
