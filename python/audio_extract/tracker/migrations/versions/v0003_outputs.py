"""What is stored of a recording beside its audio, and what a person asked to have there."""

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


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_outputs_object_name", table_name="outputs")
    op.drop_table("outputs")
    op.drop_column("recordings", "companions")
    op.drop_column("recordings", "wanted_outputs")
