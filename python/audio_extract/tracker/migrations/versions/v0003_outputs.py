"""What is stored of a recording beside its audio, its chunks, and what a person asked to have there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.add_column("recordings", sa.Column("wanted_outputs", sa.Text()))
    op.add_column("recordings", sa.Column("output_names", sa.Text()))
    op.add_column("recordings", sa.Column("companions", sa.Text()))
    op.create_table(
        "outputs",
        sa.Column("recording_id", ROW_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("object_name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("crc32c", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger()),
        sa.Column("content_type", sa.Text()),
        sa.Column("audio_seconds", sa.Float()),
        sa.PrimaryKeyConstraint("recording_id", "name", name=op.f("pk_outputs")),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_outputs_recording_id"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_outputs_object_name", "outputs", ["object_name"])
    with op.batch_alter_table("chunks") as table:
        table.add_column(sa.Column("output", sa.Text(), nullable=False, server_default=sa.text("''")))
        table.drop_constraint("pk_chunks", type_="primary")
        table.create_primary_key("pk_chunks", ["recording_id", "output", "chunk_index"])


def downgrade() -> None:
    """Take back."""
    op.execute("DELETE FROM chunks WHERE output <> ''")
    with op.batch_alter_table("chunks") as table:
        table.drop_constraint("pk_chunks", type_="primary")
        table.drop_column("output")
        table.create_primary_key("pk_chunks", ["recording_id", "chunk_index"])
    op.drop_index("ix_outputs_object_name", table_name="outputs")
    op.drop_table("outputs")
    op.drop_column("recordings", "companions")
    op.drop_column("recordings", "output_names")
    op.drop_column("recordings", "wanted_outputs")
