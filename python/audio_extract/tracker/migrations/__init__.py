"""The migrations: Alembic's environment and the versions, files of the package that are read from there."""
