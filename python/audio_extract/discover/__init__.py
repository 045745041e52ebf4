"""Looking for recordings: incrementally, or everything."""

from audio_extract.discover.discovery import DiscoveryResult, discover

__all__ = ["DiscoveryResult", "discover"]
