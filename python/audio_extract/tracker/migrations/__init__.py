"""The migrations: Alembic's environment and the versions, which are files of the package and read from there."""
