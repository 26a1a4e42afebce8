"""PgBouncer lets no connection in that asks for something it does not know, and a new setting is easily forgotten."""

import re
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

import pytest

from app.settings import Settings
from app.store import connections
from app.store.connections import Store, Timeouts

INI = ConfigParser(interpolation=None)
INI.read(Path(__file__).parents[3] / "deploy" / "pgbouncer" / "adserver.ini")
NOT_SET = {"application_name", "timezone", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"}
"""PgBouncer hands on the names and timezones of its clients, and has keepalives of its own."""
SECOND_MS = 1000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """Settings that the server's two pools request of Postgres: the serving connections, and the others."""
    made: list[Mapping[str, str]] = []
    create = connections.create_async_engine

    def note(*arguments: object, connect_args: dict[str, Mapping[str, str]], **options: object) -> object:
        made.append(connect_args["server_settings"])
        return create(*arguments, **options)

    monkeypatch.setattr(connections, "create_async_engine", note)
    settings = Settings()
    timeouts = Timeouts(
        settings.lock_timeout_ms, settings.statement_timeout_ms, settings.idle_in_transaction_timeout_ms
    )
    Store("postgresql://localhost/adserver", serving_connections=1, general_connections=1, timeouts=timeouts)
    return made


def test_pgbouncer_passes_over_what_the_server_asks_for_when_it_connects(asked: list[Mapping[str, str]]) -> None:
    ignored = set(INI["pgbouncer"]["ignore_startup_parameters"].split(", "))
    assert {name for settings in asked for name in settings} <= ignored


@pytest.mark.parametrize(("pool", "database"), [(0, "adserver_serving"), (1, "adserver")])
def test_pgbouncer_sets_on_its_connections_what_each_pool_asks_for(
    asked: list[Mapping[str, str]], pool: int, database: str
) -> None:
    wanted = {name: in_ms(value) for name, value in asked[pool].items() if name not in NOT_SET}
    assert dict(re.findall(r"SET (\w+) = (\w+)", INI["databases"][database])) == wanted


def in_ms(value: str) -> str:
    """A time as Postgres takes it without a unit; anything else as it is."""
    if seconds := re.fullmatch(r"(\d+)s", value):
        return str(int(seconds[1]) * SECOND_MS)
    return value.removesuffix("ms")
