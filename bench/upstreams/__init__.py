"""`make upstream-table`: what players get while an upstream misbehaves, and how fast with one that works."""
