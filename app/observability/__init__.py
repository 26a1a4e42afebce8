"""What the server says of itself: metrics, logs, traces. Nothing here may cost a request more than microseconds."""
