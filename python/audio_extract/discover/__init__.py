"""Looking for recordings: incrementally, or everything."""

from audio_extract.discover.discovery import DiscoveryResult, cursor_name, discover

__all__ = ["DiscoveryResult", "cursor_name", "discover"]
