"""The revisions of the database schema; Alembic runs them through `env.py`."""
