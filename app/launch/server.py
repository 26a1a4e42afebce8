"""Runs the server: everything that `adserver run` starts, or the workers alone."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from app.errors import MisconfiguredServer
from app.launch.databases import Database, Report, opened_database
from app.launch.demo import demo_upstream, load_demo
from app.launch.env_settings import warn_of_ignored
from app.launch.exposure import require_strong_secrets
from app.launch.keys import kept_secret_key
from app.launch.metrics_files import cleared_metrics_dir, forgetting
from app.launch.migrate import migrate, require_schema
from app.launch.shutdown_signal import Interruption
from app.launch.sockets import Claim, sole_use
from app.launch.supervisor import KeptProcess, keep_until_interrupted
from app.observability.logs import LineWriter, configure
from app.settings import Settings
from app.store.connections import serving_url


def run(settings: Settings, report: Report, on_ready: Callable[[Database], None]) -> None:
    """Starts all of it, and returns when a signal has stopped it. Raises what its parts raise."""
    interruption = Interruption()
    with (
        _addresses(settings, report, makes_missing_key=True) as claims,
        _logs(settings),
        opened_database(settings, report) as database,
    ):
        secret_key = settings.secret_key.get_secret_value() or kept_secret_key(settings.data_dir)
        environment = {"ADSERVER_DATABASE_URL": _prepare(settings, database, report), "ADSERVER_SECRET_KEY": secret_key}
        upstream = database.persistently(lambda: demo_upstream(database.url, report), report)

        def announce_stop() -> None:
            claims.announce_stop()
            database.announce_stop()

        asyncio.run(
            keep_until_interrupted(
                [*workers(settings, environment), *upstream], interruption, lambda: on_ready(database), announce_stop
            )
        )


def _prepare(settings: Settings, database: Database, report: Report) -> str:
    """Migrates the database and loads the demo; returns the URL that workers connect by."""
    database.persistently(
        lambda: migrate(database.url, lambda revision: report(f"Migrated to {revision}."), on_wait=report), report
    )
    app_url = database.persistently(database.app_url, report)
    _require_serving_database(app_url, settings)
    if database.persistently(lambda: load_demo(settings, database.url), report):
        report("The database was empty: loaded the demo campaigns.")
    return app_url


def serve(settings: Settings, report: Report, on_ready: Callable[[], None]) -> None:
    """Starts workers on a migrated database, and returns when a signal has stopped them.

    Raises MisconfiguredServer without a database, or without a secret key: nodes that each made their own would not
    know each other's users and beacons.
    """
    if not settings.database_url:
        raise MisconfiguredServer("ADSERVER_DATABASE_URL: must be set for `adserver serve`")
    if not settings.secret_key.get_secret_value():
        raise MisconfiguredServer("ADSERVER_SECRET_KEY: must be set for `adserver serve`, the same on every node")
    interruption = Interruption()
    with _addresses(settings, report) as claims, _logs(settings):
        require_schema(settings.database_url)
        _require_serving_database(settings.database_url, settings)
        asyncio.run(keep_until_interrupted(workers(settings, {}), interruption, on_ready, claims.announce_stop))


def workers(settings: Settings, environment: Mapping[str, str], *factory: str) -> list[KeptProcess]:
    """The server processes, not yet started; `environment` replaces settings, `factory` the application."""
    metrics_dir = cleared_metrics_dir(settings)
    environment = {
        **environment,
        "ADSERVER_PUBLIC_URL": settings.public_url,
        "ADSERVER_METRICS_DIR": str(metrics_dir),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
    }
    return [
        KeptProcess(f"worker {number}", "app.launch.worker", factory, environment, forgetting(metrics_dir))
        for number in range(1, settings.workers + 1)
    ]


def _require_serving_database(url: str, settings: Settings) -> None:
    """Where serving has a name of its own for the database, it is not to be found wrong only when players ask."""
    if settings.serving_database:
        require_schema(serving_url(url, settings.serving_database))


class _Claims:
    """A launcher's claims to all addresses that it listens on."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._claims = claims

    def announce_stop(self) -> None:
        """Lets the next launcher on any of them wait for the end of this one."""
        for claim in self._claims:
            claim.announce_stop()


@contextmanager
def _addresses(settings: Settings, report: Report, *, makes_missing_key: bool = False) -> Iterator[_Claims]:
    """Keeps the addresses to listen on for this server alone; refuses to expose one whose secrets are weak."""
    with ExitStack() as stack:
        claims = [stack.enter_context(sole_use(*address, report)) for address in settings.addresses]
        require_strong_secrets(settings, makes_missing_key=makes_missing_key)
        yield _Claims(claims)


@contextmanager
def _logs(settings: Settings) -> Iterator[None]:
    """The launcher's own log: as the workers' where a machine reads it, in colours for people."""
    if sys.stderr.isatty():
        warn_of_ignored(settings)
        yield
        return
    writer = LineWriter()
    configure(settings.log_level, writer)
    try:
        warn_of_ignored(settings)
        yield
    finally:
        writer.close()
