"""Decisions of groups while requests, definitions and upstreams' answers interleave."""

import asyncio

import pytest
from asyncpg.transaction import Transaction

from app.domain import NoFillReason
from app.serving.outcomes import NoFill, Outcome, Served
from tests.campaigns import campaign, creative, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import Gate, UpstreamServer, answer, inline
from tests.invariants.world import running, somebody_waits
from tests.players import becomes, connected, disagreements, idle_in_transaction

CAP_1 = [{"impressions": 1, "per": "day"}]
CAP_9 = [{"impressions": 9, "per": "day"}]
NEW_SESSION = """
INSERT INTO sessions (id, correlator, created_at, expires_at)
VALUES (gen_random_uuid(), '1', now(), now() + interval '1 hour') RETURNING id
"""


async def test_a_new_order_of_campaigns_goes_for_the_next_request(database: str) -> None:
    await set_up(database, own_campaign("old"), own_campaign("new"), placement("preroll", "old"))
    async with running(database) as server:
        assert await server.campaign(placement_id="preroll") == "old"
        await set_up(database, placement("preroll", "new"))
        assert await server.campaign(placement_id="preroll") == "new"


async def test_a_campaign_that_is_aimed_at_others_is_served_to_them_by_a_server_that_refused_before(
    database: str,
) -> None:
    await set_up(database, own_campaign("aimed", targeting={"countries": ["FR"]}))
    async with running(database) as server:
        assert await server.reason(campaign_id="aimed", country="DE") is NoFillReason.TARGETING
        await set_up(database, own_campaign("aimed", targeting={"countries": ["DE"]}))
        assert await server.campaign(campaign_id="aimed", country="DE") == "aimed"


@pytest.mark.parametrize(
    ("last", "outcome"),
    [("FR", NoFill), ("DE", Served)],
    ids=["which its worker has", "which its worker has not seen yet"],
)
async def test_an_ad_that_comes_late_is_served_by_the_catalog_of_that_moment(
    database: str, last: str, outcome: type[Outcome]
) -> None:
    """Its request was admitted, and its upstream asked, by the previous catalog."""

    async def nobody_is_in_a_transaction() -> bool:
        return await idle_in_transaction(database) == 0

    def late(country: str) -> str:
        return campaign("late", upstreams=["network"], targeting={"countries": [country]})

    async with UpstreamServer() as network:
        gate = network.behavior = Gate(answer(inline()))
        await set_up(database, upstream("network", network.url, timeout_ms=2000), late("DE"))
        async with running(database, group_fetch_wait_s=0) as server:
            asking = asyncio.create_task(server.ask(campaign_id="late", country="DE"))
            await network.asked(1)
            await becomes(nobody_is_in_a_transaction)
            await set_up(database, late("FR"))
            assert await server.reason(campaign_id="late", country="DE") is NoFillReason.TARGETING
            await set_up(database, late(last))
            gate.opened.set()
            assert isinstance(await asking, outcome)


async def test_a_campaign_that_no_longer_skips_the_unknown_serves_them(database: str) -> None:
    await set_up(database, own_campaign("capped", frequency_caps=CAP_1))
    async with running(database) as server:
        assert await server.reason(campaign_id="capped") is NoFillReason.NO_USER
        await set_up(database, own_campaign("capped", frequency_caps=CAP_1, without_user="serve"))
        assert await server.campaign(campaign_id="capped") == "capped"


async def test_a_users_second_request_of_a_group_keeps_the_order_of_its_campaigns(database: str) -> None:
    async with UpstreamServer() as network:
        await set_up(
            database,
            upstream("network", network.url),
            own_campaign("first", frequency_caps=CAP_9),
            campaign("second", upstreams=["network"]),
            placement("preroll", "first", "second"),
        )
        async with running(database) as server:
            asked = [server.campaign(placement_id="preroll", user_id="u") for _ in range(3)]
            assert await asyncio.gather(*asked) == ["first", "first", "first"]


async def test_an_answer_that_is_late_leaves_no_old_creative_for_those_after_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog changed, and was reloaded, while the first request's COMMIT was on its way."""
    await set_up(database, campaign("a"), creative("c", "a", "Old"))
    commit = Transaction._Transaction__commit
    committed, heard = asyncio.Event(), asyncio.Event()

    async def commit_and_hear_late(transaction: Transaction) -> None:
        await commit(transaction)
        if not committed.is_set():
            committed.set()
            await heard.wait()

    async with running(database) as server:
        monkeypatch.setattr(Transaction, "_Transaction__commit", commit_and_hear_late)
        first = asyncio.create_task(server.served(campaign_id="a"))
        await committed.wait()
        await set_up(database, creative("c", "a", "New"))
        catalogs = server.adserver.catalogs
        await catalogs.reload(catalogs.current)
        heard.set()
        assert b"<AdTitle>Old" in (await first).vast
        assert b"<AdTitle>New" in (await server.served(campaign_id="a")).vast


async def test_two_requests_of_one_session_in_one_group_get_different_creatives(database: str) -> None:
    await set_up(database, own_campaign("two"), creative("b", "two"))
    async with running(database) as server, connected(database) as connection:
        for _ in range(5):
            session_id = await connection.fetchval(NEW_SESSION)
            asked = [server.served(campaign_id="two", session_id=str(session_id)) for _ in range(2)]
            creatives = [served.ads[0].creative for served in await asyncio.gather(*asked)]
            assert {own.id for own in creatives if own} == {"two-15s", "b"}


async def test_a_session_remembers_a_creative_once_however_often_it_was_served(database: str) -> None:
    await set_up(database, own_campaign("two"), creative("b", "two"))
    async with running(database) as server, connected(database) as connection:
        session_id = await connection.fetchval(NEW_SESSION)
        for _ in range(6):
            await server.served(campaign_id="two", session_id=str(session_id))
        assert sorted(await connection.fetchval("SELECT played FROM sessions")) == ["b", "two-15s"]


async def test_a_creative_that_did_not_fit_beside_another_serves_when_the_other_does_not(database: str) -> None:
    await set_up(
        database,
        own_campaign("long", cpm="1000", budgets={"lifetime": "1"}),
        own_campaign("short", advertiser="Other"),
        placement("preroll", "long", "short"),
    )
    async with running(database) as server:
        # Both are checked before either is paid for, and both choose a campaign that has money for one ad.
        asked = [server.served(placement_id="preroll", pod_size="2", pod_duration_s="20") for _ in range(2)]
        assert [[ad.campaign_id for ad in served.ads] for served in await asyncio.gather(*asked)] == [
            ["long"],
            ["short"],
        ]


async def test_a_pods_slow_upstreams_are_asked_once_each(database: str) -> None:
    async with UpstreamServer() as one, UpstreamServer() as two:
        gates = [Gate(answer(inline())), Gate(answer(inline()))]
        one.behavior, two.behavior = gates
        await set_up(
            database,
            upstream("one", one.url, timeout_ms=2000),
            upstream("two", two.url, timeout_ms=2000),
            campaign("a", upstreams=["one"]),
            campaign("b", upstreams=["two"], advertiser="Other"),
            placement("preroll", "a", "b"),
        )
        async with running(database, group_fetch_wait_s=0) as server:
            asking = asyncio.create_task(server.served(placement_id="preroll", pod_size="2"))
            await one.asked(1)
            await two.asked(1)
            await server.fetch_wait_is_over()
            gates[0].opened.set()
            await server.has_answer_of("one")
            gates[1].opened.set()
            assert [ad.campaign_id for ad in (await asking).ads] == ["a", "b"]
            assert (len(one.requests), len(two.requests)) == (1, 1)


async def test_a_request_that_two_workers_would_fill_differently_is_paid_once(database: str) -> None:
    async with UpstreamServer() as network:
        gate = network.behavior = Gate(answer(b"", "500 Oops"))
        await set_up(
            database,
            upstream("network", network.url, timeout_ms=2000),
            campaign("a", upstreams=["network"]),
            own_campaign("b", frequency_caps=CAP_1, advertiser="Other"),
            placement("preroll", "a", "b"),
        )
        asked = {"placement_id": "preroll", "user_id": "u", "pod_size": "2", "request_id": "r1"}
        async with running(database, group_fetch_wait_s=2) as one, running(database, group_fetch_wait_s=2) as two:
            first = asyncio.create_task(one.served(**asked))
            await network.asked(1)
            # The other worker has found no earlier answer, and waits for the lock on the user's count.
            second = asyncio.create_task(two.served(**asked))
            await somebody_waits(database)
            network.behavior = answer(inline())
            gate.opened.set()
            answers = [[ad.campaign_id for ad in served.ads] for served in (await first, await second)]
            assert answers == [["b"], ["b"]]
    assert await disagreements(database) == []


@pytest.mark.parametrize("requests", [50])
async def test_unknown_ids_do_not_wait_for_each_other(database: str, requests: int) -> None:
    await set_up(database, own_campaign("known"))
    async with running(database) as server:
        outcomes = await asyncio.gather(
            *(server.ask(campaign_id=f"unknown{index}") for index in range(requests)), return_exceptions=True
        )
        assert {type(outcome).__name__ for outcome in outcomes} == {"InvalidRequest"}
