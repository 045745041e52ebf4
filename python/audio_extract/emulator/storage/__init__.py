"""The emulated Google Cloud Storage."""

from audio_extract.emulator.storage.app import StorageEmulator
from audio_extract.emulator.storage.objects import StoredObject

__all__ = ["StorageEmulator", "StoredObject"]
