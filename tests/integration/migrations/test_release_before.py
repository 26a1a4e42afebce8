"""The release before the newest revision and its successor, both on the new schema, as in a rolling upgrade."""

import asyncio
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from app.store.revision import MIGRATIONS, revisions
from tests.campaigns import own_campaign, set_up
from tests.players import Answer, Players, connected, disagreements, serving

ROOT = MIGRATIONS.parent
IMPRESSION = re.compile(rb"http://[^\]]+/event/impression\?t=[^\]]+")
ASKS = 30


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


@pytest.fixture
def code_before(tmp_path: Path) -> Path:
    """The code of the commit before the one that added the newest revision, in a folder of its own."""
    newest, previous = (file_of(revision) for revision in revisions()[:2])
    try:
        added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", newest).decode().strip()
        before = f"{added}^" if added else "HEAD"
        files = git("ls-tree", "--name-only", before, "--", newest, previous).decode().split()
        archive = git("archive", before, "app", "migrations")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of this checkout does not reach that commit")
    if files != [previous]:
        pytest.skip("the newest revision and the one before it came in one commit: no release lies between them")
    subprocess.run(["tar", "--extract", "--directory", str(tmp_path)], input=archive, check=True)
    return tmp_path


def file_of(revision: str) -> str:
    (file,) = (MIGRATIONS / "versions").glob(f"{revision}_*.py")
    return str(file.relative_to(ROOT))


def program_in_use() -> Path:
    """The file from which programs that are started now import `app`."""
    return Path(subprocess.check_output([sys.executable, "-c", "import app; print(app.__file__)"], text=True).strip())


async def ask(url: str, prefix: str) -> list[Answer]:
    async with Players(url) as players:
        return await players.ask_all(
            {"campaign_id": "own", "user_id": f"u{number % 10}", "request_id": f"{prefix}{number}"}
            for number in range(ASKS)
        )


async def see(answers: list[Answer]) -> None:
    """Send the impressions of these ads."""
    async with aiohttp.ClientSession() as session:
        for answer in answers:
            (beacon,) = IMPRESSION.findall(answer.body)
            async with session.get(beacon.decode()) as response:
                assert response.status == 200


async def test_both_serve_and_count_on_one_schema(
    database: str, app_database: str, code_before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = [{"impressions": 4, "per": "day"}]
    await set_up(
        database,
        own_campaign("own", cpm="1000", billing="impression", budgets={"lifetime": "1000"}, frequency_caps=caps),
    )
    async with serving(app_database, WORKERS="1") as successor:
        with monkeypatch.context() as environment:
            environment.setenv("PYTHONPATH", str(code_before))
            environment.chdir(code_before)
            assert program_in_use().is_relative_to(code_before)
            async with serving(app_database, WORKERS="1") as previous:
                first = await ask(previous.url, "before")
                assert all(answer.filled for answer in first)
                again = await ask(successor.url, "before")
                assert [answer.filled for answer in again] == [True] * ASKS
                second = await asyncio.gather(ask(previous.url, "a"), ask(successor.url, "b"))
                filled = [answer for answers in second for answer in answers if answer.filled]
                assert len(filled) == 10
                await see([*first[:5], *again[5:10], *filled])
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT spent FROM finance.campaign_spend") == Decimal(20)
        assert await connection.fetchval("SELECT count(*) FROM ad_serves") == 40
    assert await disagreements(database) == []
