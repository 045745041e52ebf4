"""A database of the earlier service."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# What the earlier service made: three tables, and the number of its own schema.
LEGACY = """
CREATE TABLE processed_videos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file_path TEXT NOT NULL, file_hash TEXT NOT NULL,
    processed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, output_path TEXT, status TEXT NOT NULL,
    error_message TEXT, metadata TEXT, gcs_url TEXT, gcs_path TEXT, upload_timestamp TIMESTAMP,
    UNIQUE(file_path, file_hash)
);
CREATE INDEX idx_file_hash ON processed_videos(file_hash);
CREATE TABLE drive_files (file_id TEXT PRIMARY KEY, file_name TEXT, last_seen TIMESTAMP);
CREATE TABLE sync_history (id INTEGER PRIMARY KEY, sync_time TIMESTAMP, files_found INTEGER);
CREATE TABLE db_version (version INTEGER);
INSERT INTO db_version VALUES (2);
INSERT INTO drive_files VALUES ('A', 'Weekly.mp4', '2025-01-29 10:00:00');
INSERT INTO sync_history VALUES (1, '2025-01-29 10:00:00', 3);
"""


def make_legacy(file: Path) -> Path:
    """Make a file as the earlier service left it: three recordings done, one failed, one named twice."""
    rows = [
        (
            "drive://A", "A", "2025-01-29 10:00:00", "completed", None, '{"file_name": "Weekly.mp4"}',
            "https://storage.example/dev/2025/01/a_audio.mp3", "dev/2025/01/a_audio.mp3",
            "2025-01-29T10:00:05",
        ),
        ("drive://B", "B", "2025-01-30 10:00:00.123", "failed", "it broke", "not json", None, None, None),
        ("/data/in/c.mp4", "abc", "nonsense", "completed", None, None, None, None, None),
        ("drive://D", "D", "2025-01-29 10:00:00", "completed", None, "{}", None, None, None),
        ("drive://D", "D2", "2025-01-30 10:00:00", "failed", "later", "{}", None, None, None),
    ]  # fmt: skip
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(LEGACY)
        connection.executemany(
            "INSERT INTO processed_videos (file_path, file_hash, processed_at, status, error_message, "
            "metadata, gcs_url, gcs_path, upload_timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.commit()
    return file
