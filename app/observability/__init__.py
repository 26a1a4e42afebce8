"""Metrics, logs, traces and health of the server. Nothing here may cost a request more than microseconds."""
