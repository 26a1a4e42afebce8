"""Pods: each ad is paid for and counted on its own, and a pod that is too short costs nothing."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from random import Random

import pytest

from app.domain import NoFillReason
from app.serving.explain import explain
from app.serving.keys import hash_key
from app.serving.outcomes import NoFill, Served
from app.targeting.viewer import ViewerReader
from app.web.query import ad_request
from tests.campaigns import campaign, creative, placement, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, answer
from tests.invariants.world import SECRET, Server, running
from tests.players import connected, disagreements
from tests.unit.vast.ad_documents import DrawnAd, vast

BOOKED = """
SELECT (SELECT count(*) FROM ad_serves)::int AS serves,
       (SELECT coalesce(sum(amount), 0) FROM spend_ledger) AS charged,
       (SELECT coalesce(sum(price), 0) FROM holds) AS held,
       (SELECT coalesce(sum(count), 0) FROM frequency_caps)::int AS counted
"""
ONE = "1000"
"""The price of an ad is 1."""


def sold(campaign_id: str, *creative_ids: str, **terms: object) -> str:
    """A campaign of an advertiser of its own, with creatives of 15 seconds unless `duration_s` says otherwise."""
    length = {"duration_s": terms.pop("duration_s", 15)}
    names = creative_ids or (f"{campaign_id}-15s",)
    creatives = "".join(creative(name, campaign_id, **length) for name in names)
    return campaign(campaign_id, **{"advertiser": campaign_id, "cpm": ONE} | terms) + creatives


async def booked(database: str) -> tuple[int, Decimal, Decimal, int]:
    """Return the serves, the amounts charged and held, and the ads that caps have counted."""
    async with connected(database) as connection:
        row = await connection.fetchrow(BOOKED)
    assert row is not None
    return tuple(row)


def served_creatives(outcome: object) -> list[str | None]:
    assert isinstance(outcome, Served), outcome
    return [ad.creative.id if ad.creative else None for ad in outcome.ads]


DAY_CAP = [{"impressions": 5, "per": "day"}]


@pytest.mark.parametrize("billing", ["serve", "impression"])
async def test_nothing_is_paid_for_a_pod_that_is_too_short(database: str, billing: str) -> None:
    """The budget of the second campaign has no room, which the database says only when the ads are paid for."""
    terms = {"billing": billing, "frequency_caps": DAY_CAP}
    tight = sold("b", "b1", "b2", ads_per_pod=2, budgets={"lifetime": "1"}, **terms)
    await set_up(database, sold("a", **terms), tight, placement("p", "a", "b"))
    async with running(database) as server:
        pod = {"placement_id": "p", "user_id": "u", "pod_size": "3"}
        outcome = await server.ask(**pod, min_ads="3")
        assert outcome == NoFill(NoFillReason.NO_CANDIDATE)
        assert await booked(database) == (0, 0, 0, 0)
        assert served_creatives(await server.ask(**pod, min_ads="2"))[:1] == ["a-15s"]
        serves, charged, held, counted = await booked(database)
        assert (serves, charged + held, counted) == (2, 2, 2)
    assert await disagreements(database) == []


async def test_a_pod_that_is_too_short_takes_nothing_from_others(database: str) -> None:
    """Pods of two compete with single ads for a budget of five: all that is paid for is whole."""
    await set_up(database, sold("a", "a1", "a2", ads_per_pod=2, budgets={"lifetime": "5"}), placement("p", "a"))
    async with running(database) as one, running(database) as two:
        pods = [server.ask(placement_id="p", pod_size="2", min_ads="2") for _ in range(10) for server in (one, two)]
        outcomes = await asyncio.gather(*pods)
        lengths = [len(outcome.ads) for outcome in outcomes if isinstance(outcome, Served)]
        assert lengths == [2, 2]
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, NoFill)} == {NoFillReason.BUDGET}
        assert len((await one.served(placement_id="p")).ads) == 1
    assert (await booked(database))[0] == 5
    assert await disagreements(database) == []


async def test_a_cap_is_counted_for_each_ad_of_a_campaign(database: str) -> None:
    capped = sold("a", "a1", "a2", "a3", ads_per_pod=3, frequency_caps=[{"impressions": 4, "per": "day"}])
    await set_up(database, capped, placement("p", "a"))
    async with running(database) as server:
        pod = {"placement_id": "p", "user_id": "u", "pod_size": "3"}
        first = served_creatives(await server.ask(**pod))
        assert sorted(first) == ["a1", "a2", "a3"]
        assert len(served_creatives(await server.ask(**pod))) == 1, "the cap has room for one more"
        assert await server.reason(**pod) is NoFillReason.FREQUENCY_CAP
    assert await booked(database) == (4, 4, 0, 4)
    assert await disagreements(database) == []


@pytest.mark.parametrize("seed", range(3))
async def test_pods_that_compete_are_whole_or_cost_nothing(database: str, seed: int) -> None:
    drawn = Random(seed)
    await set_up(
        database,
        sold("a", "a1", "a2", "a3", ads_per_pod=3, budgets={"lifetime": "23"}),
        sold("b", "b1", "b2", ads_per_pod=2, budgets={"day": "17"}, frequency_caps=[{"impressions": 3, "per": "day"}]),
        sold("c", budgets={"lifetime": {"impressions": 9}}, billing="impression"),
        sold("d", duration_s=20, cpm="500", budgets={"lifetime": "7"}, frequency_caps=DAY_CAP),
        placement("p", "d", "a", "b", "c"),
    )
    async with running(database) as one, running(database) as two:
        requests = [
            {
                "pod_size": str(drawn.randint(1, 6)),
                "min_ads": str(drawn.randint(1, 4)),
                "user_id": f"u{drawn.randint(1, 9)}",
                **drawn.choice([{}, {"pod_duration_s": "50"}, {"competitors": "together"}]),
            }
            for _ in range(60)
        ]
        servers = (drawn.choice((one, two)) for _ in requests)
        asked = [server.ask(placement_id="p", **values) for server, values in zip(servers, requests, strict=True)]
        outcomes = await asyncio.gather(*asked)
    paid = 0
    for values, outcome in zip(requests, outcomes, strict=True):
        assert not isinstance(outcome, NoFill) or outcome.reason is not NoFillReason.BUSY
        if isinstance(outcome, Served):
            size = int(values["pod_size"])
            assert min(int(values["min_ads"]), size) <= len(outcome.ads) <= size
            paid += len(outcome.ads)
    assert paid == (await booked(database))[0] > 0
    assert await disagreements(database) == []


async def test_a_repeated_request_gets_the_same_pod(database: str) -> None:
    await set_up(database, sold("a", "a1", "a2", ads_per_pod=2), sold("b"), placement("p", "a", "b"))
    async with running(database) as server:
        pod = {"placement_id": "p", "pod_size": "3", "request_id": "r", "min_ads": "3"}
        first = served_creatives(await server.ask(**pod))
        assert served_creatives(await server.ask(**pod)) == first
    assert (await booked(database))[0] == 3


async def test_ads_have_their_positions_in_the_answer(database: str) -> None:
    await set_up(
        database,
        campaign("z", advertiser="z") + creative("last", "z", position="last"),
        campaign("y", advertiser="y") + creative("first", "y", position="first"),
        campaign("x", advertiser="x") + creative("any", "x"),
        campaign("w", advertiser="w") + creative("opener", "w", bumper=True, duration_s=5),
        placement("p", "z", "y", "x", "w"),
        placement("alone", "w"),
    )
    async with running(database) as server:
        outcome = await server.ask(placement_id="p", pod_size="9")
        assert served_creatives(outcome) == ["opener", "first", "any", "last"]
        assert await server.reason(placement_id="alone", pod_size="2") is NoFillReason.NO_CANDIDATE
        assert await server.reason(placement_id="alone") is NoFillReason.NO_CANDIDATE
        assert served_creatives(await server.ask(placement_id="p", pod_size="3", pod_duration_s="20")) == [
            "opener",
            "last",
        ]


async def test_explain_says_why_a_campaign_has_no_ad_in_a_pod(database: str) -> None:
    await set_up(
        database,
        sold("long", "long-20", duration_s=20),
        sold("a"),
        sold("rival", advertiser="a"),
        sold("b"),
        sold("c", cpm="0"),
        placement("p", "long", "a", "rival", "b", "c"),
    )
    async with running(database) as server:
        pod = {"placement_id": "p", "pod_size": "3", "pod_duration_s": "30"}
        too_long = (
            "pod: left out, because its shortest creative has {} s, and the others, which are worth more, leave 0 s"
        )
        assert await pod_facts(server, **pod) == {
            "long": too_long.format(20),
            "a": "pod: a-15s is ad 1 of 2, with 15 s",
            "rival": "pod: left out, because a is a competitor",
            "b": "pod: b-15s is ad 2 of 2, with 15 s",
            "c": too_long.format(15),
        }
        facts = await pod_facts(server, **pod | {"pod_size": "2", "pod_duration_s": "60"})
        assert facts["b"] == "pod: left out, because all 2 slots are taken"
        facts = await pod_facts(server, **pod, min_ads="3")
        assert facts["a"] == "pod: left out, because there are fewer than 3 ads, or only a bumper"
        assert await pod_facts(server, placement_id="p") == {}


async def pod_facts(server: Server, **values: str) -> dict[str, str]:
    """The explanations about the pod, by campaign."""
    async with server.store.connection() as connection:
        explained = await explain(connection, ad_request(values), hash_key(SECRET), ViewerReader())
    return {
        verdict.campaign_id: fact for verdict in explained.verdicts for fact in verdict.facts if fact.startswith("pod")
    }


@pytest.fixture
async def network() -> AsyncIterator[UpstreamServer]:
    """Answers with a pod of two."""
    async with UpstreamServer(answer(vast([DrawnAd(1), DrawnAd(2)]))) as server:
        yield server


async def test_an_upstream_with_too_few_ads_is_not_paid_for(database: str, network: UpstreamServer) -> None:
    fetched = campaign("f", advertiser="f", cpm=ONE, upstreams=["u"], frequency_caps=DAY_CAP)
    await set_up(
        database, upstream("u", network.url), fetched, sold("a"), placement("p", "f"), placement("both", "f", "a")
    )
    async with running(database) as server:
        pod = {"pod_size": "3", "user_id": "u"}
        assert await server.reason(placement_id="p", min_ads="3", **pod) is NoFillReason.NO_CANDIDATE
        assert await booked(database) == (0, 0, 0, 0)
        assert len((await server.served(placement_id="p", min_ads="2", **pod)).ads) == 2
        assert len((await server.served(placement_id="both", min_ads="3", **pod)).ads) == 3
    assert await booked(database) == (5, 5, 0, 4)
    assert await disagreements(database) == []
