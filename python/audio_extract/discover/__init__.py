"""What is new in the sources, recorded: incremental by cursor, or everything."""
