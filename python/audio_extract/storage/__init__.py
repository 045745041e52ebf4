"""Where audio is stored: a bucket in Cloud Storage or a folder, behind one protocol."""

from audio_extract.storage.base import StorageAdapter, StorageCheck, StoredFile
from audio_extract.storage.factory import StorageFactory

__all__ = ["StorageAdapter", "StorageCheck", "StorageFactory", "StoredFile"]
