"""Every setting, once: defaults, file, environment, flags (in rising order)."""

from audio_extract.settings.example import example_text
from audio_extract.settings.load import load_settings
from audio_extract.settings.model import Settings
from audio_extract.settings.requirements import (
    bucket_key_file,
    drive_key_file,
    require_destination,
    require_source,
)
from audio_extract.settings.show import json_schema, masked_dict

__all__ = [
    "Settings",
    "bucket_key_file",
    "drive_key_file",
    "example_text",
    "json_schema",
    "load_settings",
    "masked_dict",
    "require_destination",
    "require_source",
]
