"""The finance views, which are a contract, and the queries on the finance page with their real results."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from app.embedded import EmbeddedPostgres
from docs.finance_demo import make_books
from docs.finance_page import PAGE, QUESTION, Books, renewed
from tests.integration.accounting.world import connected, disagreements

CONTRACT = Path(__file__).with_name("finance_contract.txt")

VERSION = "SELECT obj_description('finance'::regnamespace)"
COLUMNS = """
SELECT format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'finance'::regnamespace AND a.attnum > 0 ORDER BY c.relname, a.attnum
"""


async def test_the_contract_changes_with_its_version_alone(finance_database: str) -> None:
    """Whoever changes a column must raise the version; a released column stays beside a better one."""
    async with connected(finance_database) as connection:
        version = (await connection.fetchval(VERSION)).rpartition(", ")[2]
        columns = [row[0] for row in await connection.fetch(COLUMNS)]
    assert CONTRACT.read_text().splitlines() == [version, *columns]


async def test_the_answers_in_the_page_are_what_finance_has_in_psql(
    postgres: EmbeddedPostgres, database: str, finance_database: str
) -> None:
    await make_books(database)
    page = PAGE.read_text()
    assert [language for language, _ in QUESTION.findall(page)].count("sql") == page.count("```sql")
    books = Books(postgres.programs / "psql", database, finance_database)
    assert await asyncio.to_thread(renewed, page, books) == page
    assert await disagreements(database) == []


async def test_the_program_in_the_page_computes_the_hash_of_every_month(
    database: str, finance_database: str, tmp_path: Path
) -> None:
    await make_books(database)
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program
    python = re.sub(r'""".*?"""', '""', program[1], flags=re.DOTALL)
    assert len([line for line in python.splitlines() if line]) <= 20
    file = tmp_path / "hashes.py"
    file.write_text(program[1])
    printed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, file],
        env={**os.environ, "DATABASE_URL": finance_database},
        capture_output=True,
        text=True,
        check=True,
    )
    async with connected(finance_database) as connection:
        months = await connection.fetch("SELECT month, hash FROM finance.closed_months ORDER BY month")
    assert printed.stdout == "".join(f"{month} {month_hash} ok\n" for month, month_hash in months)
    assert months
