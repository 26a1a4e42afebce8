"""I3 and I4: a client gets an ad only after its transaction has committed, and each request is paid for once."""

import asyncio
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from app.domain import NoFillReason
from app.errors import Conflict
from app.serving.answers import Answers
from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.clock import set_clock
from tests.faults.upstream_server import Gate, Request, UpstreamServer, answer, inline
from tests.invariants.world import running, somebody_waits
from tests.players import connected, disagreements

CAPS = [{"impressions": 9, "per": "day"}]
MONEY = {"cpm": "1000", "budgets": {"lifetime": "100"}, "frequency_caps": CAPS}

FAIL_AT_COMMIT = """
CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE CONSTRAINT TRIGGER fail_at_commit AFTER UPDATE ON budget_tracking DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION fail_at_commit()
"""


async def served_and_counted(url: str) -> tuple[int, int, int]:
    """The numbers of ads served, paid for, and counted for their users."""
    async with connected(url) as connection:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM ad_serves), (SELECT coalesce(sum(impressions), 0) FROM budget_tracking), "
            "(SELECT coalesce(sum(count), 0) FROM frequency_caps)"
        )
    return row[0], row[1], row[2]


async def test_when_commit_fails_nobody_hears_of_an_ad_and_nothing_is_left(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    async with running(database) as server, connected(database) as owner:
        await owner.execute(FAIL_AT_COMMIT)
        assert await server.reason(campaign_id="own", user_id="u") is NoFillReason.BUSY
        assert await served_and_counted(database) == (0, 0, 0)
        await owner.execute("DROP TRIGGER fail_at_commit ON budget_tracking")
        await server.served(campaign_id="own", user_id="u")
    assert await served_and_counted(database) == (1, 1, 1)


async def test_an_answer_is_made_while_commit_is_under_way_and_given_when_that_has_returned(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    vast, commit = Answers.vast, Transaction._Transaction__commit
    made: list[bytes] = []
    seen: list[tuple[int, int, bool]] = []

    def make(*parts: Any) -> bytes:
        made.append(vast(*parts))
        return made[-1]

    async def commit_and_look(transaction: Transaction) -> None:
        before = len(made)
        await commit(transaction)
        seen.append((before, len(made), asked.done()))

    async with running(database) as server:
        monkeypatch.setattr(Answers, "vast", make)
        monkeypatch.setattr(Transaction, "_Transaction__commit", commit_and_look)
        asked = asyncio.create_task(server.served(campaign_id="own", user_id="u"))
        assert (await asked).vast == made[0]
    assert seen == [(0, 1, False)]


@pytest.mark.parametrize("name", [{}, {"request_id": "r1"}], ids=["without a name", "with a name"])
async def test_when_the_answer_of_commit_is_lost_the_ad_is_found_again(
    database: str, monkeypatch: pytest.MonkeyPatch, name: dict[str, str]
) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    commit = Transaction._Transaction__commit
    lost: list[Transaction] = []

    async def commit_and_lose(transaction: Transaction) -> None:
        await commit(transaction)
        if not lost:
            lost.append(transaction)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async with running(database) as server:
        monkeypatch.setattr(Transaction, "_Transaction__commit", commit_and_lose)
        served = await server.served(campaign_id="own", user_id="u", **name)
        assert (lost != [], served.repeat) == (True, True)
    assert await served_and_counted(database) == (1, 1, 1)
    assert await disagreements(database) == []


@pytest.mark.parametrize(
    "last_room",
    [
        {"cpm": "1000", "budgets": {"lifetime": "100"}, "frequency_caps": [{"impressions": 1, "per": "day"}]},
        {"cpm": "1000", "budgets": {"lifetime": "1"}},
    ],
    ids=["of a cap", "of a budget"],
)
async def test_asked_again_while_the_first_attempt_takes_the_last_room_it_is_the_same_ad(
    database: str, last_room: dict[str, object]
) -> None:
    await set_up(database, own_campaign("own", **last_room))
    asked = {"campaign_id": "own", "user_id": "u", "request_id": "r1"}
    async with running(database) as one, running(database) as two, connected(database) as holder:
        async with holder.transaction():
            await holder.execute("SELECT FROM budget_tracking FOR UPDATE")
            first = asyncio.create_task(one.served(**asked))
            await somebody_waits(database)
            again = asyncio.create_task(two.served(**asked))
            await somebody_waits(database, 2)
        assert ((await first).repeat, (await again).repeat) == (False, True)
        assert (await again).served_at == (await first).served_at
        assert await two.reason(**asked | {"request_id": "r2"}) in (NoFillReason.FREQUENCY_CAP, NoFillReason.BUDGET)
    assert (await served_and_counted(database))[:2] == (1, 1)
    assert await disagreements(database) == []


async def test_asked_again_it_is_the_same_ad_and_with_other_parameters_a_conflict(database: str) -> None:
    await set_up(database, own_campaign("own", **MONEY))
    async with running(database) as one, running(database) as two:
        asked = {"campaign_id": "own", "user_id": "u", "request_id": "r1"}
        first = await one.served(**asked)
        again = await two.served(**asked)
        assert (again.request_key, again.served_at, again.repeat) == (first.request_key, first.served_at, True)
        with pytest.raises(Conflict):
            await two.ask(**asked | {"user_id": "v"})
    assert await served_and_counted(database) == (1, 1, 1)


@pytest.mark.parametrize(
    ("first_at", "second_at"),
    [
        ("2026-06-15 12:00:00+00", "2026-06-15 12:00:01+00"),
        ("2026-06-30 23:59:59.999+00", "2026-07-01 00:00:00+00"),
    ],
    ids=["on one day", "on both sides of midnight"],
)
async def test_two_workers_that_decide_one_request_at_once_pay_for_it_once(
    database: str, first_at: str, second_at: str
) -> None:
    """One worker found no earlier answer, and still fetches while the other pays."""
    gate = Gate(answer(inline()))

    async def hold_the_first(request: Request, writer: asyncio.StreamWriter) -> None:
        await (gate if len(network.requests) == 1 else answer(inline()))(request, writer)

    async with UpstreamServer(hold_the_first) as network:
        await set_up(
            database,
            upstream("network", network.url, timeout_ms=5000),
            campaign("a", upstreams=["network"], cpm="1000", budgets={"lifetime": "100"}),
        )
        async with running(database, group_fetch_wait_s=3) as one, running(database) as two:
            asked = {"campaign_id": "a", "request_id": "r1"}
            await set_clock(database, first_at)
            held_up = asyncio.create_task(one.served(**asked))
            await network.asked(1)
            first = await two.served(**asked)
            await set_clock(database, second_at)
            gate.opened.set()
            second = await held_up
            assert (first.repeat, second.repeat) == (False, True)
            assert second.served_at == first.served_at
    assert await served_and_counted(database) == (1, 1, 0)
    assert await disagreements(database) == []


@pytest.mark.parametrize(
    ("at", "claims"),
    [("2026-06-15 23:59:30+00", 1), ("2026-06-16 00:00:30+00", 1), ("2026-06-16 00:01:30+00", 0)],
    ids=["just before midnight", "just after midnight", "later"],
)
async def test_a_request_without_a_name_is_claimed_around_midnight_too(database: str, at: str, claims: int) -> None:
    """The server may lose the connection and try again while the first COMMIT is still on its way."""
    await set_clock(database, at)
    await set_up(database, own_campaign("own"))
    async with running(database) as server, connected(database) as owner:
        await server.served(campaign_id="own")
        assert await owner.fetchval("SELECT count(*) FROM midnight_requests") == claims


async def test_two_workers_that_wait_for_one_budget_pay_for_a_request_once(database: str) -> None:
    """Neither has found an earlier answer, and both are about to pay."""
    await set_up(database, own_campaign("own", cpm="1000", budgets={"lifetime": "100"}))
    async with running(database) as one, running(database) as two:
        async with connected(database) as holder, holder.transaction():
            await holder.execute("SELECT FROM budget_tracking FOR UPDATE")
            asked = {"campaign_id": "own", "request_id": "r1"}
            asking = [asyncio.create_task(server.served(**asked)) for server in (one, two)]
            await somebody_waits(database, 2)
        answers = await asyncio.gather(*asking)
        assert sorted(served.repeat for served in answers) == [False, True]
    assert await served_and_counted(database) == (1, 1, 0)


async def test_who_has_left_while_an_ad_was_fetched_does_not_pay_for_it(database: str) -> None:
    async with UpstreamServer() as network:
        gate = network.behavior = Gate(answer(inline()))
        await set_up(
            database,
            upstream("network", network.url, timeout_ms=5000),
            campaign("a", upstreams=["network"], **MONEY),
        )
        async with running(database, group_fetch_wait_s=3) as server:
            leaving = asyncio.create_task(server.ask(campaign_id="a", user_id="u"))
            await network.asked(1)
            leaving.cancel()
            await asyncio.wait([leaving])
            gate.opened.set()
            await server.served(campaign_id="a", user_id="v")
    assert await served_and_counted(database) == (1, 1, 1)
