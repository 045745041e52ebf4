"""Where recordings are found: Google Drive folders and local folders, behind one protocol."""

from audio_extract.sources.base import Changes, Recording, Source, SourceCheck

__all__ = ["Changes", "Recording", "Source", "SourceCheck"]
