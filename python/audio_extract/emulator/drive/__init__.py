"""The emulated Google Drive."""

from audio_extract.emulator.drive.app import DriveEmulator
from audio_extract.emulator.drive.item import FOLDER, SHORTCUT, DriveItem, VideoMetadata

__all__ = ["FOLDER", "SHORTCUT", "DriveEmulator", "DriveItem", "VideoMetadata"]
