"""Write docs/finance.md: run its SQL and its commands on the demo books, and put the output beside each of them."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.store.roles import FINANCE
from docs.finance_demo import make_books

PAGE = Path(__file__).with_name("finance.md")
QUESTION = re.compile(r"```(?P<language>sql|sh)\n(?P<source>(?:(?!```).)*)```\n\n```text\n.*?```", re.DOTALL)
PSQL = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--pset=linestyle=ascii")
ADSERVER = """adserver() { "$PYTHON" -c 'from app.cli import main; main()' "$@"; }\n"""
"""A shell function, so that the page runs the code beside it."""


@dataclass(frozen=True, slots=True)
class Books:
    """The programs and the URLs with which the page asks a database."""

    psql: Path
    owner_url: str
    """Commands run as the owner, because some of them book something."""
    finance_url: str
    """SQL runs as finance's role."""


def renewed(page: str, books: Books) -> str:
    """The page with the outputs that its SQL and commands have now, in this order. Raises CalledProcessError."""

    def answer(question: "re.Match[str]") -> str:
        language, source = question["language"], question["source"]
        printed = _query(source, books) if language == "sql" else _command(source, books)
        lines = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
        return f"```{language}\n{source}```\n\n```text\n{lines}\n```"

    return QUESTION.sub(answer, page)


def _query(sql: str, books: Books) -> str:
    return subprocess.run(  # noqa: S603 - Postgres' own program, by path, without a shell
        [books.psql, *PSQL, books.finance_url],
        input=sql,
        env={**os.environ, "PGTZ": "UTC", "PAGER": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _command(source: str, books: Books) -> str:
    return subprocess.run(
        ["/bin/sh", "-e"],
        input=ADSERVER + source,
        env={**os.environ, "PYTHON": sys.executable, "ADSERVER_DATABASE_URL": books.owner_url},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _write() -> str:
    # Started by root, Postgres runs as another user, who must reach the folder.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            migrate(server.dsn)
            asyncio.run(set_role_passwords(server))
            asyncio.run(make_books(server.dsn))
            books = Books(server.programs / "psql", server.dsn, server.url(role=FINANCE))
            return renewed(PAGE.read_text(encoding="utf-8"), books)


if __name__ == "__main__":
    sys.stdout.write(_write())
