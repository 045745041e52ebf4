"""``make bench``: this program beside what people would use instead. See ``benches/README.md``."""
