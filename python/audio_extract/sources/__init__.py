"""Where recordings are found: Google Drive folders and local folders, behind one protocol."""

from audio_extract.sources.base import Changes, Recording, Source, SourceCheck
from audio_extract.sources.factory import build_drive_source, build_sources

__all__ = ["Changes", "Recording", "Source", "SourceCheck", "build_drive_source", "build_sources"]
