"""Maintenance of the tables: periodic tasks, and the erasure of a viewer's data."""
