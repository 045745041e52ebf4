"""What people and probes see: the dashboard with its API, the health port, and the server under both."""
