"""The tables. The newest migration makes exactly these; a test compares them.

`recordings` is the truth about what is to be done; `transfers` keeps every attempt; `audit_log` keeps every
transition and is only ever added to. `processed_videos`, `drive_files` and `sync_history` are read by people
and programs that know the earlier service, so their names and first columns stay.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from audio_extract.tracker.columns import AnyText, JsonText, Moment, RowId

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: What the page calls failed, and the index of just these.
FAILED = text("state IN ('failed', 'quarantined')")

recordings = Table(
    "recordings",
    metadata,
    Column("id", RowId, primary_key=True),
    # What the source says of it.
    Column("source", AnyText, nullable=False),
    Column("source_id", AnyText, nullable=False),
    Column("revision", AnyText),
    Column("name", AnyText, nullable=False),
    Column("mime_type", AnyText),
    Column("size_bytes", BigInteger),
    Column("created_at", Moment),
    Column("modified_at", Moment),
    Column("folder_id", AnyText),
    Column("md5", AnyText),
    Column("sha256", AnyText),
    Column("web_link", AnyText),
    # Where it stands.
    Column("state", AnyText, nullable=False),
    Column("state_reason", AnyText),
    Column("state_changed_at", Moment, nullable=False),
    Column("discovered_at", Moment, nullable=False),
    Column("processed_at", Moment),
    Column("priority", Integer, nullable=False, server_default="0"),
    # When it is due; set exactly while something is to be done.
    Column("next_attempt_at", Moment),
    # Attempts spent, failures in a row (spent or not), processes that died while they held it.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("error_code", AnyText),
    Column("error_kind", AnyText),
    Column("error_message", AnyText),
    Column("ffmpeg_tail", AnyText),
    # What is stored.
    Column("object_name", AnyText),
    Column("plan_id", AnyText),
    Column("completed_revision", AnyText),
    Column("storage_type", AnyText),
    Column("storage_path", AnyText),
    Column("storage_url", AnyText),
    Column("stored_size_bytes", BigInteger),
    Column("crc32c", AnyText),
    Column("generation", BigInteger),
    Column("content_type", AnyText),
    Column("audio_seconds", Float),
    Column("last_transfer_id", RowId),
    # What a person asked to have beside the audio, as in `processing.outputs`.
    Column("wanted_outputs", JsonText),
    # Output → the name that was decided for it.
    Column("output_names", JsonText),
    # Transcript, notes, chat: kind, name and link of each.
    Column("companions", JsonText),
    # Who works on it. The fence grows with each claim: an old holder's writes no longer match.
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", AnyText),
    Column("lease_host", AnyText),
    Column("lease_pid", BigInteger),
    Column("lease_expires_at", Moment),
    UniqueConstraint("source", "source_id"),
    UniqueConstraint("object_name"),
    CheckConstraint(
        "state IN ('discovered', 'pending', 'in_progress', 'completed', 'failed', 'quarantined', 'skipped')",
        name="state",
    ),
    CheckConstraint(
        "(state = 'in_progress') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)", name="lease"
    ),
    CheckConstraint("next_attempt_at IS NULL OR state IN ('pending', 'failed')", name="due"),
    CheckConstraint("state <> 'pending' OR next_attempt_at IS NOT NULL", name="pending_is_due"),
    Index("ix_recordings_due", "priority", "next_attempt_at", "id"),
    Index("ix_recordings_lease", "lease_expires_at"),
    Index("ix_recordings_recent", "state_changed_at", "id"),
    Index("ix_recordings_state", "state", "state_changed_at", "id"),
    Index("ix_recordings_failed", "state_changed_at", "id", sqlite_where=FAILED, postgresql_where=FAILED),
    Index("ix_recordings_storage_path", "storage_path"),
    Index("ix_recordings_totals", "state", "audio_seconds", "size_bytes", "stored_size_bytes"),
    # An id is never given twice, so that an old audit row cannot seem to speak of a new recording.
    sqlite_autoincrement=True,
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("recording_id", RowId, ForeignKey("recordings.id", ondelete="CASCADE"), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", AnyText),
    Column("owner", AnyText, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    # completed, failed, released, crashed; null while it runs.
    Column("outcome", AnyText),
    Column("adopted", Boolean, nullable=False, server_default=text("false")),
    Column("error_code", AnyText),
    Column("error_kind", AnyText),
    Column("error_message", AnyText),
    Column("ffmpeg_tail", AnyText),
    Column("strategy", AnyText),
    Column("fetched_bytes", BigInteger),
    Column("stored_bytes", BigInteger),
    Column("audio_seconds", Float),
    Column("report", JsonText),
    Column("trace_id", AnyText),
    UniqueConstraint("recording_id", "fence"),
    Index("ix_transfers_ended", "ended_at"),
    sqlite_autoincrement=True,
)

processed_videos = Table(
    "processed_videos",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("file_path", AnyText, nullable=False),
    Column("file_hash", AnyText),
    Column("status", AnyText, nullable=False),
    Column("processed_at", Moment),
    Column("metadata", JsonText),
    Column("gcs_url", AnyText),
    Column("gcs_path", AnyText),
    Column("upload_timestamp", Moment),
    Column("recording_id", RowId, ForeignKey("recordings.id", ondelete="CASCADE"), nullable=False),
    Column("storage_type", AnyText),
    Column("storage_path", AnyText),
    Column("storage_url", AnyText),
    Column("error_message", AnyText),
    UniqueConstraint("file_path"),
    UniqueConstraint("recording_id"),
    Index("ix_processed_videos_status_processed", "status", "processed_at"),
    Index("ix_processed_videos_hash", "file_hash"),
)

drive_files = Table(
    "drive_files",
    metadata,
    Column("file_id", AnyText, primary_key=True),
    Column("name", AnyText, nullable=False),
    Column("mime_type", AnyText),
    Column("size_bytes", BigInteger),
    Column("md5_checksum", AnyText),
    Column("created_time", Moment),
    Column("modified_time", Moment),
    Column("folder_id", AnyText),
    Column("web_view_link", AnyText),
    Column("first_seen_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("removed_at", Moment),
)

sync_history = Table(
    "sync_history",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source", AnyText, nullable=False),
    # incremental or full
    Column("kind", AnyText, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("new", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Column("requests", Integer),
    Column("error_code", AnyText),
    Column("error_message", AnyText),
    Column("trace_id", AnyText),
    Index("ix_sync_history_started", "started_at"),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", AnyText, primary_key=True),
    Column("value", AnyText, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    Column("recording_id", RowId, ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    # The name of the output it is of; empty: the audio itself.
    Column("output", AnyText, primary_key=True, server_default=text("''")),
    Column("chunk_index", Integer, primary_key=True, autoincrement=False),
    Column("object_name", AnyText, nullable=False),
    Column("start_seconds", Float, nullable=False),
    Column("end_seconds", Float, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", AnyText, nullable=False),
    Column("silence_cut", Boolean, nullable=False),
)

outputs = Table(
    "outputs",
    metadata,
    Column("recording_id", RowId, ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("object_name", AnyText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", AnyText, nullable=False),
    Column("generation", BigInteger),
    Column("content_type", AnyText),
    Column("audio_seconds", Float),
    Index("ix_outputs_object_name", "object_name"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", Moment, nullable=False),
    # No foreign key: the history stays when a recording is forgotten.
    Column("recording_id", RowId),
    Column("event", AnyText, nullable=False),
    Column("from_state", AnyText),
    Column("to_state", AnyText),
    Column("actor", AnyText),
    Column("detail", JsonText),
    Index("ix_audit_log_recording", "recording_id", "id"),
    sqlite_autoincrement=True,
)
