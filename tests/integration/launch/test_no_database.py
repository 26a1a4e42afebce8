"""Commands where there is no database: all but those that make one say so, and leave the folder as it was."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from app.cli import app
from app.embedded import running_dsn
from app.embedded.paths import postgres_root
from tests.launched import adserver
from tests.postgres import temporary_folder

MAKE_ONE = {"run", "migrate"}
ARGUMENTS = {
    "serve": (),
    "dsn": (),
    "psql": (),
    "export": (),
    "explain": ("campaign_id=c",),
    "apply": ("campaigns.toml",),
    "reconcile": (),
    "maintain": (),
    "creatives preview": ("c",),
    "creatives check": ("c",),
    "books close": ("2025-01",),
    "books verify": (),
    "books archive": ("2025-01",),
    "invoices make": ("2025-01",),
    "invoices list": (),
    "invoices show": ("1",),
    "orders credit": ("o", "--amount=1", "--reason=r", "--key=k"),
    "orders list": (),
    "payouts record": ("p", "--amount=1", "--key=k"),
    "ledger adjust": ("c", "--amount=1", "--reason=r", "--key=k"),
    "ledger reverse": ("1", "--reason=r", "--key=k"),
    "ledger sets": (),
    "ledger balance": (),
    "third-party import": ("counts.csv",),
    "third-party list": ("--from=2026-01-01", "--to=2026-01-02"),
    "report spend": ("--from=2026-01-01", "--to=2026-01-02"),
    "users forget": ("u",),
}
FILE = '[[upstreams]]\nid = "u"\ntag_url = "http://127.0.0.1:1/vast"\n'


def commands() -> Iterator[str]:
    """Every command of the program, with its group's name before it."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            yield from (f"{name} {part}" for part in command.commands)
        else:
            yield name


def test_the_table_has_every_command() -> None:
    missing = set(commands()) - set(ARGUMENTS) - MAKE_ONE
    assert missing == set(), "say with which arguments they run"


@pytest.mark.parametrize("command", sorted(set(commands()) - MAKE_ONE))
def test_a_command_in_the_wrong_folder_makes_no_database(command: str, tmp_path: Path) -> None:
    (tmp_path / "campaigns.toml").write_text(FILE)
    (tmp_path / "counts.csv").write_text("2024-01-01,c,1\n")
    folder = tmp_path / "var"
    arguments = (str(tmp_path / word) if word.endswith((".toml", ".csv")) else word for word in ARGUMENTS[command])
    done = adserver(*command.split(), *arguments, DATA_DIR=str(folder))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    if command != "serve":
        assert done.stderr.startswith(f"adserver: ADSERVER_DATA_DIR: there is no database in {folder};")
    assert not folder.exists()
    assert not postgres_root(folder).exists()


def test_migrate_makes_one() -> None:
    with temporary_folder() as folder:
        done = adserver("migrate", DATA_DIR=str(folder / "var"))
        assert (done.returncode, done.stderr) == (0, "")
        stopped = adserver("dsn", DATA_DIR=str(folder / "var"))
        assert (stopped.returncode, stopped.stderr.count("\n")) == (1, 1)
        assert "is not running" in stopped.stderr
        assert running_dsn(folder / "var") is None
