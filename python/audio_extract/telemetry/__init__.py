"""What operators see: logs, metrics, traces, and the redaction that all of them pass through."""
