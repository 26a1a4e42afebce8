"""PgBouncer lets no connection in that asks for something it does not know, and a new setting is easily forgotten."""

from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

import pytest

from app.settings import Settings
from app.store import connections
from app.store.connections import Store, Timeouts

INI = Path(__file__).parents[3] / "deploy" / "pgbouncer" / "adserver.ini"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """What the server's two pools ask Postgres for when they connect: of serving connections, and of the others."""
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
    Store("postgresql://localhost/adserver", serving_connections=1, other_connections=1, timeouts=timeouts)
    return made


def test_pgbouncer_passes_over_what_the_server_asks_for_when_it_connects(asked: list[Mapping[str, str]]) -> None:
    ini = ConfigParser(interpolation=None)
    ini.read(INI)
    ignored = set(ini["pgbouncer"]["ignore_startup_parameters"].split(", "))
    assert {name for settings in asked for name in settings} <= ignored


def test_pgbouncer_sets_on_its_connections_what_serving_connections_ask_for(asked: list[Mapping[str, str]]) -> None:
    ini = ConfigParser(interpolation=None)
    ini.read(INI)
    serving = asked[0]
    for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
        assert f"SET {name} = {serving[name].removesuffix('ms')};" in ini["databases"]["adserver"]
    for name in ("plan_cache_mode", "enable_seqscan", "enable_mergejoin", "enable_bitmapscan", "jit"):
        assert f"SET {name} = {serving[name]}" in ini["databases"]["adserver"]
