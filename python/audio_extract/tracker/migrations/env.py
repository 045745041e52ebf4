"""What Alembic runs: the migrations, on the connection and in the transaction that `migrate` opened."""

from __future__ import annotations

from alembic import context

from audio_extract.tracker.models import metadata

# `migrate` owns the transaction, so that check, backup and migration are one step for other processes.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
