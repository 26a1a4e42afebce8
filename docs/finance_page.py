"""Write docs/finance.md: run its SQL on the demo books, and put the output of psql beside each query."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from app.embedded import EmbeddedPostgres
from app.launch.databases import set_role_passwords
from app.launch.migrate import migrate
from app.store.roles import FINANCE
from docs.finance_demo import make_books

PAGE = Path(__file__).with_name("finance.md")
QUESTION = re.compile(r"```sql\n(?P<sql>.*?)```\n\n```text\n.*?```", re.DOTALL)
PSQL = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--pset=linestyle=ascii")


def renewed(page: str, psql: Path, finance_url: str) -> str:
    """The page with the output of each question as finance's role has it now. Raises CalledProcessError."""

    def answer(question: "re.Match[str]") -> str:
        printed = subprocess.run(  # noqa: S603 - Postgres' own program, by path, without a shell
            [psql, *PSQL, finance_url],
            input=question["sql"],
            env={**os.environ, "PGTZ": "UTC", "PAGER": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        lines = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
        return f"```sql\n{question['sql']}```\n\n```text\n{lines}\n```"

    return QUESTION.sub(answer, page)


def _write() -> str:
    # Started by root, Postgres runs as another user, who must reach the folder.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            migrate(server.dsn)
            asyncio.run(set_role_passwords(server))
            asyncio.run(make_books(server.dsn))
            return renewed(PAGE.read_text(encoding="utf-8"), server.programs / "psql", server.url(role=FINANCE))


if __name__ == "__main__":
    sys.stdout.write(_write())
