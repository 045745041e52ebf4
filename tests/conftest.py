"""What every test can rely on: a clean environment, and FFmpeg.

Owns no fixture of any one part of the program; those stand beside their tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

#: Variables that change what the service does. A test sets what it needs itself.
SERVICE_VARIABLES = (
    "AUDIO_EXTRACT",
    "DRIVE_EMULATOR_HOST",
    "ENABLE_GCSFUSE",
    "ENVIRONMENT",
    "FORCE_COLOR",
    "GCE_METADATA",
    "GCS",
    "GCSFUSE",
    "GOOGLE_",
    "NO_COLOR",
    "OTEL_",
    "STORAGE_EMULATOR_HOST",
    "TERMINAL_WIDTH",
)

#: What `make test-real` is given; read by tests/real only.
KEPT_VARIABLES = ("AUDIO_EXTRACT_TEST_",)
KEY_VARIABLE = "AUDIO_EXTRACT_TEST_KEY"


def pytest_configure() -> None:
    """Clear the environment before anything is imported or started, fixtures of any scope included."""
    if key := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        os.environ.setdefault(KEY_VARIABLE, key)
    for name in list(os.environ):
        if name.startswith(SERVICE_VARIABLES) and not name.startswith(KEPT_VARIABLES):
            del os.environ[name]
    # Nobody's settings stand there, and nothing can be made there that a killed run would leave behind.
    os.environ["XDG_CONFIG_HOME"] = f"{os.devnull}/no-settings"
    # Without this, google-auth asks the metadata server and a test waits for a network that is not there.
    os.environ["NO_GCE_CHECK"] = "true"


@pytest.fixture(scope="session")
def ffmpeg() -> Path:
    """The FFmpeg that tests compare with: the system's, else the one of the imageio-ffmpeg wheel."""
    found = shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg

        found = imageio_ffmpeg.get_ffmpeg_exe()
    return Path(found)


@pytest.fixture(scope="session")
def ffprobe() -> Path:
    """The system's ffprobe. No wheel has one, so without it the test is skipped by name (in CI: fails)."""
    found = shutil.which("ffprobe")
    if found is None:
        message = "ffprobe is not installed (Debian: apt-get install ffmpeg)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)
