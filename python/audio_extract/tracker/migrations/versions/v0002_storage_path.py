"""An index by where audio is stored: a link is asked for by that."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_recordings_storage_path", "recordings", ["storage_path"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_recordings_storage_path", table_name="recordings")
