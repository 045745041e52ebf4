"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only in a column of the type INTEGER.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY_SQLITE = """
CREATE TRIGGER audit_log_no_{word} BEFORE {word} ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log is only ever added to'); END
"""
APPEND_ONLY_POSTGRESQL = (
    """
CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_log is only ever added to'; END $$
""",
    """
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
FOR EACH ROW EXECUTE FUNCTION audit_log_refuse()
""",
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_log",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recording_id", ROW_ID, nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_log_recording", "audit_log", ["recording_id", "id"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "drive_files",
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("md5_checksum", sa.Text(), nullable=True),
        sa.Column("created_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("modified_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folder_id", sa.Text(), nullable=True),
        sa.Column("web_view_link", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_drive_files")),
    )
    op.create_table(
        "recordings",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folder_id", sa.Text(), nullable=True),
        sa.Column("md5", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("web_link", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("state_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("discovered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("ffmpeg_tail", sa.Text(), nullable=True),
        sa.Column("object_name", sa.Text(), nullable=True),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("completed_revision", sa.Text(), nullable=True),
        sa.Column("storage_type", sa.Text(), nullable=True),
        sa.Column("storage_path", sa.Text(), nullable=True),
        sa.Column("storage_url", sa.Text(), nullable=True),
        sa.Column("stored_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("crc32c", sa.Text(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("audio_seconds", sa.Float(), nullable=True),
        sa.Column("last_transfer_id", ROW_ID, nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_host", sa.Text(), nullable=True),
        sa.Column("lease_pid", sa.BigInteger(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'in_progress') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_recordings_lease"),
        ),
        sa.CheckConstraint(
            "next_attempt_at IS NULL OR state IN ('pending', 'failed')", name=op.f("ck_recordings_due")
        ),
        sa.CheckConstraint(
            "state <> 'pending' OR next_attempt_at IS NOT NULL", name=op.f("ck_recordings_pending_is_due")
        ),
        sa.CheckConstraint(
            "state IN ('discovered', 'pending', 'in_progress', 'completed', 'failed', "
            "'quarantined', 'skipped')",
            name=op.f("ck_recordings_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
        sa.UniqueConstraint("object_name", name=op.f("uq_recordings_object_name")),
        sa.UniqueConstraint("source", "source_id", name=op.f("uq_recordings_source_source_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_recordings_due", "recordings", ["priority", "next_attempt_at", "id"], unique=False)
    op.create_index(
        "ix_recordings_failed",
        "recordings",
        ["state_changed_at", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('failed', 'quarantined')"),
        postgresql_where=sa.text("state IN ('failed', 'quarantined')"),
    )
    op.create_index("ix_recordings_lease", "recordings", ["lease_expires_at"], unique=False)
    op.create_index("ix_recordings_recent", "recordings", ["state_changed_at", "id"], unique=False)
    op.create_index("ix_recordings_state", "recordings", ["state", "state_changed_at", "id"], unique=False)
    op.create_index(
        "ix_recordings_totals",
        "recordings",
        ["state", "audio_seconds", "size_bytes", "stored_size_bytes"],
        unique=False,
    )
    op.create_table(
        "sync_history",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_history")),
    )
    op.create_index("ix_sync_history_started", "sync_history", ["started_at"], unique=False)
    op.create_table(
        "chunks",
        sa.Column("recording_id", ROW_ID, nullable=False),
        sa.Column("chunk_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("object_name", sa.Text(), nullable=False),
        sa.Column("start_seconds", sa.Float(), nullable=False),
        sa.Column("end_seconds", sa.Float(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.Text(), nullable=False),
        sa.Column("silence_cut", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_chunks_recording_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("recording_id", "chunk_index", name=op.f("pk_chunks")),
    )
    op.create_table(
        "processed_videos",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("file_hash", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("gcs_url", sa.Text(), nullable=True),
        sa.Column("gcs_path", sa.Text(), nullable=True),
        sa.Column("upload_timestamp", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recording_id", ROW_ID, nullable=False),
        sa.Column("storage_type", sa.Text(), nullable=True),
        sa.Column("storage_path", sa.Text(), nullable=True),
        sa.Column("storage_url", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["recording_id"],
            ["recordings.id"],
            name=op.f("fk_processed_videos_recording_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processed_videos")),
        sa.UniqueConstraint("file_path", name=op.f("uq_processed_videos_file_path")),
        sa.UniqueConstraint("recording_id", name=op.f("uq_processed_videos_recording_id")),
    )
    op.create_index("ix_processed_videos_hash", "processed_videos", ["file_hash"], unique=False)
    op.create_index(
        "ix_processed_videos_status_processed", "processed_videos", ["status", "processed_at"], unique=False
    )
    op.create_table(
        "transfers",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("recording_id", ROW_ID, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("adopted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("ffmpeg_tail", sa.Text(), nullable=True),
        sa.Column("strategy", sa.Text(), nullable=True),
        sa.Column("fetched_bytes", sa.BigInteger(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("audio_seconds", sa.Float(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_transfers_recording_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("recording_id", "fence", name=op.f("uq_transfers_recording_id_fence")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_transfers_ended", "transfers", ["ended_at"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        for word in ("UPDATE", "DELETE"):
            op.execute(APPEND_ONLY_SQLITE.format(word=word))
    else:
        for statement in APPEND_ONLY_POSTGRESQL:
            op.execute(statement)


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_transfers_ended", table_name="transfers")
    op.drop_table("transfers")
    op.drop_index("ix_processed_videos_status_processed", table_name="processed_videos")
    op.drop_index("ix_processed_videos_hash", table_name="processed_videos")
    op.drop_table("processed_videos")
    op.drop_table("chunks")
    op.drop_index("ix_sync_history_started", table_name="sync_history")
    op.drop_table("sync_history")
    op.drop_index("ix_recordings_totals", table_name="recordings")
    op.drop_index("ix_recordings_state", table_name="recordings")
    op.drop_index("ix_recordings_recent", table_name="recordings")
    op.drop_index("ix_recordings_lease", table_name="recordings")
    op.drop_index(
        "ix_recordings_failed",
        table_name="recordings",
        sqlite_where=sa.text("state IN ('failed', 'quarantined')"),
        postgresql_where=sa.text("state IN ('failed', 'quarantined')"),
    )
    op.drop_index("ix_recordings_due", table_name="recordings")
    op.drop_table("recordings")
    op.drop_table("drive_files")
    op.drop_table("cursors")
    op.drop_index("ix_audit_log_recording", table_name="audit_log")
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_log_refuse()")
