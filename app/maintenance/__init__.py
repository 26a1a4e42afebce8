"""What keeps the tables in shape: periodic tasks, and the erasure of viewers."""
