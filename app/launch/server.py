"""The processes of `adserver run` and `adserver serve`."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from app.errors import MisconfiguredServer
from app.launch.databases import Database, Report, open_database
from app.launch.demo import demo_upstream_processes, load_demo
from app.launch.env_settings import warn_about_ignored
from app.launch.exposure import require_strong_secrets
from app.launch.metrics_files import clear_metrics_dir, make_exit_handler
from app.launch.migrate import migrate, require_schema
from app.launch.secret_key import load_or_create_secret_key
from app.launch.shutdown_signal import ShutdownSignal
from app.launch.sockets import AddressClaim, exclusive_port
from app.launch.supervisor import SupervisedProcess, supervise_until_shutdown
from app.observability.logs import LineWriter, configure
from app.settings import Settings
from app.store.connections import serving_url
from app.targeting.places import PlaceReader


def run(settings: Settings, report: Report, on_ready: Callable[[Database], None]) -> None:
    """Start database, migrations, demo and workers; return when a signal has stopped them. Raises their errors."""
    _require_places(settings)
    shutdown = ShutdownSignal()
    with (
        _addresses(settings, report, makes_missing_key=True) as claims,
        _logs(settings),
        open_database(settings, report) as database,
    ):
        secret_key = settings.secret_key.get_secret_value() or load_or_create_secret_key(settings.data_dir)
        environment = {"ADSERVER_DATABASE_URL": _prepare(settings, database, report), "ADSERVER_SECRET_KEY": secret_key}
        upstreams = database.retry_step(lambda: demo_upstream_processes(database.url, report), report)

        def announce_stop() -> None:
            claims.announce_stop()
            database.announce_stop()

        asyncio.run(
            supervise_until_shutdown(
                [*workers(settings, environment), *upstreams], shutdown, lambda: on_ready(database), announce_stop
            )
        )


def _prepare(settings: Settings, database: Database, report: Report) -> str:
    """Migrate the database and load the demo; return the URL that workers connect with."""
    database.retry_step(
        lambda: migrate(database.url, lambda revision: report(f"Migrated to {revision}."), on_wait=report), report
    )
    app_url = database.retry_step(database.app_url, report)
    _require_serving_database(app_url, settings)
    if database.retry_step(lambda: load_demo(settings, database.url), report):
        report("The database was empty: loaded the demo campaigns.")
    return app_url


def serve(settings: Settings, report: Report, on_ready: Callable[[], None]) -> None:
    """Start workers on a migrated database; return when a signal has stopped them.

    Raises MisconfiguredServer without a database, and without a secret key: nodes with different keys would not
    recognize each other's users and beacons.
    """
    if not settings.database_url:
        raise MisconfiguredServer("ADSERVER_DATABASE_URL: must be set for `adserver serve`")
    if not settings.secret_key.get_secret_value():
        raise MisconfiguredServer("ADSERVER_SECRET_KEY: must be set for `adserver serve`, the same on every node")
    _require_places(settings)
    shutdown = ShutdownSignal()
    with _addresses(settings, report) as claims, _logs(settings):
        require_schema(settings.database_url)
        _require_serving_database(settings.database_url, settings)
        asyncio.run(supervise_until_shutdown(workers(settings, {}), shutdown, on_ready, claims.announce_stop))


def workers(settings: Settings, environment: Mapping[str, str], *factory: str) -> list[SupervisedProcess]:
    """Return the server processes, not yet started; `environment` overrides settings, `factory` the application."""
    metrics_dir = clear_metrics_dir(settings)
    environment = {
        **environment,
        "ADSERVER_PUBLIC_URL": settings.public_url,
        "ADSERVER_METRICS_DIR": str(metrics_dir),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
    }
    return [
        SupervisedProcess(f"worker {index}", "app.launch.worker", factory, environment, make_exit_handler(metrics_dir))
        for index in range(1, settings.workers + 1)
    ]


def _require_places(settings: Settings) -> None:
    """Raise MisconfiguredServer if the file of places cannot be read."""
    if settings.geoip_file is not None:
        PlaceReader(settings.geoip_file)


def _require_serving_database(url: str, settings: Settings) -> None:
    """Check a separate serving database at the start, not only at the first ad request."""
    if settings.serving_database:
        require_schema(serving_url(url, settings.serving_database))


class _Claims:
    """A launcher's claims to all addresses that it listens on."""

    def __init__(self, claims: Sequence[AddressClaim]) -> None:
        self._claims = claims

    def announce_stop(self) -> None:
        """Let the next launcher on any of the addresses wait for this one to end."""
        for claim in self._claims:
            claim.announce_stop()


@contextmanager
def _addresses(settings: Settings, report: Report, *, makes_missing_key: bool = False) -> Iterator[_Claims]:
    """Reserve the addresses for this server; refuse to expose a server with weak secrets."""
    with ExitStack() as stack:
        claims = [stack.enter_context(exclusive_port(*address, report)) for address in settings.addresses]
        require_strong_secrets(settings, makes_missing_key=makes_missing_key)
        yield _Claims(claims)


@contextmanager
def _logs(settings: Settings) -> Iterator[None]:
    """Configure the launcher's log: JSON like the workers', or colored lines on a terminal."""
    if sys.stderr.isatty():
        warn_about_ignored(settings)
        yield
        return
    writer = LineWriter()
    configure(settings.log_level, writer)
    try:
        warn_about_ignored(settings)
        yield
    finally:
        writer.close()
