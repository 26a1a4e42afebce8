"""Anybody with a socket: a worker's memory stays, viewers go on being served, and the log stays quiet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from sqlalchemy.engine import make_url

from app.embedded import EmbeddedPostgres
from app.fast_path.connection_limits import KEEP_ALIVE_S, LINGER_S, REQUEST_S, WRITE_S
from app.store.roles import APP
from tests.campaigns import own_campaign, placement, set_up
from tests.faults.attackers import Attackers, batch, conversation, get, hang_up, post
from tests.launched import Launched
from tests.players import UNHURRIED, Players, becomes, serving
from tests.postgres import cloned_database

GROWTH_MAX = 1.5
MEGABYTE = 1 << 20
HOT = get("/vast?placement_id=preroll")
SESSION = post("/v1/sessions", b"{}")
BATCH = batch(1000, "preroll")
CHUNKED = b"POST /v1/ads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
MANY_HEADERS = b"GET /vast HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 9000
UNANSWERED = {
    "half heads": (600, MANY_HEADERS[:60_000]),
    "half headers": (600, get("/vast")[:-2] + b"X: " + b"a" * 60_000),
    "half bodies": (100, post("/v1/ads", b"[" * MEGABYTE, length=MEGABYTE + 1)),
    "bodies that nobody reads": (100, post("/healthz", b"[" * MEGABYTE, length=MEGABYTE + 1)),
    "chunks of one byte": (20, CHUNKED + b"1\r\na\r\n" * 50_000),
    "chunk extensions": (600, CHUNKED + b"1;" + b"a" * 60_000),
    "trailers": (600, CHUNKED + b"0\r\n" + b"X: a\r\n" * 9000),
    "bodies that wait to be asked for": (500, post("/v1/ads", b"", "Expect: 100-continue", length=9)),
    "silence": (1000, b""),
    "blank lines": (200, b"\r\n" * 100_000),
}
PIPELINES = {
    "hot": HOT,
    "cold": get("/healthz"),
    "posted": SESSION,
    "upgrades": get("/vast?placement_id=preroll", "Connection: Upgrade", "Upgrade: websocket"),
    "long heads": get("/vast?placement_id=preroll", f"X: {'a' * 60_000}"),
}
UNREAD = {
    "hot": HOT,
    "cold": get("/metrics"),
    "files": get("/openapi.json"),
    "batches": BATCH,
}


@asynccontextmanager
async def experienced(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[Launched]:
    """One worker that has served for a while."""
    async with cloned_database(postgres, template) as url:
        await set_up(url, own_campaign("own"), placement("preroll", "own"))
        app_url = postgres.url(make_url(url).database or "", APP)
        async with serving(app_url, WORKERS="1", **UNHURRIED) as launched:
            await view(launched, 300)
            for path in ("/metrics", "/openapi.json", "/v1/stats"):
                assert (await asyncio.to_thread(launched.get, path)).status_code == 200
            await conversation(launched.port, [BATCH.replace(b"a\r\n", CLOSE, 1)])
            yield launched


@pytest.fixture(scope="module")
async def server(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[Launched]:
    """It goes through all attacks, one after the other."""
    async with experienced(postgres, migrated_template) as launched:
        yield launched


@pytest.fixture(scope="module")
def before(server: Launched) -> int:
    """Its memory before the first of them, in bytes."""
    return rss(server)


CLOSE = b"a\r\nConnection: close\r\n"


async def view(server: Launched, ads: int) -> None:
    """A few viewers get so many ads."""
    async with Players(server.url, at_once=8) as players:
        answers = await players.ask_all([{"placement_id": "preroll", "user_id": f"u{index}"} for index in range(ads)])
    assert all(answer.filled for answer in answers)


def rss(server: Launched) -> int:
    (worker,) = server.workers()
    size: int = worker.memory_info().rss
    return size


def connections(server: Launched) -> int:
    """Of clients, that the server has open."""
    (worker,) = server.workers()
    return sum(
        connection.laddr.port == server.port and connection.status != psutil.CONN_LISTEN
        for connection in worker.net_connections()
    )


@pytest.mark.parametrize("name", PIPELINES)
async def test_a_pipeline_is_answered_and_not_piled_up(server: Launched, before: int, name: str) -> None:
    async with Attackers(server.port) as attackers:
        await attackers.pipeline(PIPELINES[name], 8 * MEGABYTE)

        async def answered() -> bool:
            return attackers.answers >= 50

        await becomes(answered, 60)
        await view(server, 100)
        assert rss(server) < GROWTH_MAX * before
    assert rss(server) < GROWTH_MAX * before


@pytest.mark.parametrize("name", UNREAD)
async def test_answers_that_are_not_read_do_not_pile_up(server: Launched, before: int, name: str) -> None:
    async with Attackers(server.port) as attackers:
        await attackers.send_unread(40, UNREAD[name], MEGABYTE)
        await view(server, 200)
        assert rss(server) < GROWTH_MAX * before


@pytest.mark.parametrize("name", UNANSWERED)
async def test_requests_without_an_end_do_not_pile_up(server: Launched, before: int, name: str) -> None:
    async with Attackers(server.port) as attackers:
        await attackers.hold(*UNANSWERED[name])
        await view(server, 200)
        assert rss(server) < GROWTH_MAX * before


HANG_UPS = {
    "in a head": HOT[:20],
    "in a body": post("/v1/ads", b"[", length=9),
    "in a session's body": post("/v1/sessions", b"{", length=9),
    "in chunks": CHUNKED + b"1\r\n",
    "before an answer": HOT,
    "in a batch": BATCH,
    "in a file": get("/openapi.json"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    "nonsense": b"\x00\xff" * 100,
}


async def test_who_hangs_up_at_any_point_leaves_nothing_in_the_log(
    postgres: EmbeddedPostgres, migrated_template: str
) -> None:
    async with experienced(postgres, migrated_template) as server:
        said = len(server.output)
        for name, data in HANG_UPS.items():
            for times in range(20):
                answer_bytes = 1000 if name in ("in a batch", "in a file") else 0
                await hang_up(server.port, data, reset=times % 2 == 1, answer_bytes=answer_bytes)

        async def nobody_is_left() -> bool:
            return connections(server) == 0

        await becomes(nobody_is_left)
        await view(server, 10)
        assert server.stop() == 0
        assert server.output[said:] == []


@pytest.mark.parametrize("path", ["/vast?placement_id=preroll", "/healthz"])
@pytest.mark.parametrize("bytes_", [70_000, 100_000, 1_000_000])
async def test_a_head_that_is_too_large_has_its_answer_though_it_goes_on(
    server: Launched, path: str, bytes_: int
) -> None:
    answer = await conversation(server.port, [get(path, f"X: {'a' * bytes_}")])
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer


async def test_a_body_that_is_too_large_has_its_answer_though_it_goes_on(server: Launched) -> None:
    body = post("/v1/sessions", b"a" * (5 * MEGABYTE)).replace(b"a\r\n", CLOSE, 1)
    assert (await conversation(server.port, [body])).startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*UNANSWERED, *(f"unread {name}" for name in UNREAD)])
async def test_every_connection_makes_progress_or_is_closed(server: Launched, before: int, name: str) -> None:
    async with Attackers(server.port) as attackers:
        if name in UNANSWERED:
            await attackers.hold(*UNANSWERED[name])
        else:
            await attackers.send_unread(100, UNREAD[name.removeprefix("unread ")], MEGABYTE)
        await view(server, 200)

        async def nobody_is_left() -> bool:
            return connections(server) == 0

        await becomes(nobody_is_left, max(REQUEST_S + LINGER_S, 2 * WRITE_S) + 20)
    assert rss(server) < GROWTH_MAX * before


@pytest.mark.slow
async def test_an_idle_connection_is_kept_for_its_time_and_then_closed(server: Launched) -> None:
    async with Attackers(server.port) as attackers:
        await attackers.pipeline(HOT, len(HOT))
        await asyncio.sleep(KEEP_ALIVE_S - 10)
        assert connections(server) == 1

        async def nobody_is_left() -> bool:
            return connections(server) == 0

        await becomes(nobody_is_left, 30)
