"""I3 and I5 for Ads: each Ad of an answer is one serve, paid for and counted on its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.serving.outcomes import NoFill, Served
from tests.campaigns import campaign, creative, placement, set_up, upstream
from tests.faults.upstream_server import Request, UpstreamServer, answer
from tests.invariants.world import Server, running
from tests.players import connected, disagreements
from tests.served_ads import ads_of, serves_of
from tests.unit.vast.ad_documents import DrawnAd, vast

POD_OF_3 = tuple(DrawnAd(number) for number in (1, 2, 3))
BUFFET = (DrawnAd(),) * 3
SHOWN = ("MediaFile", "VASTAdTagURI")
BOOKED = """
SELECT (SELECT count(*) FROM ad_serves WHERE request_key = $1) AS serves,
       (SELECT count(*) FROM spend_ledger WHERE request_key = $1 AND kind = 'charge') AS charges,
       (SELECT count(*) FROM holds WHERE request_key = $1) AS holds
"""
COUNTED = """
SELECT coalesce(max(count), 0) FROM frequency_caps f JOIN ad_serves s USING (user_key, campaign_id)
WHERE s.request_key = $1
"""


@dataclass(frozen=True)
class Books:
    """The result of a request: the Ads that a player sees, and their rows in the database."""

    ads: int
    tokens: int
    ids_differ: bool
    shows_something: bool
    serves: int
    charges: int
    holds: int

    @property
    def agree(self) -> bool:
        """Whether each Ad is one serve and one charge or hold, with its own token and AdServingId."""
        return (
            self.ids_differ
            and self.shows_something
            and self.ads == self.tokens == self.serves == self.charges + self.holds
        )


async def books(database: str, served: Served) -> Books:
    """Read the answer and the database."""
    ads = ads_of(served.vast)
    serves = serves_of(served.vast)
    ids = [found.text for ad in ads for found in ad.iter("{*}AdServingId", "AdServingId")]
    async with connected(database) as connection:
        row = await connection.fetchrow(BOOKED, served.request_key)
    shown = [next((found for name in SHOWN for found in ad.iter(f"{{*}}{name}")), None) for ad in ads]
    return Books(
        ads=len(ads),
        tokens=len(set(serves)),
        ids_differ=len(ids) == len(set(ids)),
        shows_something=None not in shown,
        **row,
    )


class Network:
    """An upstream with a configurable document; below /inner it has the target of its Wrappers."""

    def __init__(self, server: UpstreamServer) -> None:
        self.url = server.url
        self.document, self.inner = vast(BUFFET), vast(BUFFET)
        server.behavior = self._behave

    async def _behave(self, request: Request, writer: object) -> None:
        body = self.inner if "/inner" in request.target else self.document
        await answer(body)(request, writer)  # type: ignore[arg-type]


@asynccontextmanager
async def network() -> AsyncIterator[Network]:
    """The upstream, running inside the block."""
    async with UpstreamServer() as server:
        yield Network(server)


def theirs(campaign_id: str, **values: object) -> str:
    return campaign(campaign_id, **{"advertiser": campaign_id, "cpm": "1000", "upstreams": ["network"], **values})


def own(campaign_id: str) -> str:
    return campaign(campaign_id, advertiser=campaign_id, cpm="1000") + creative(f"{campaign_id}-15s", campaign_id)


WRAPPER = (DrawnAd(tag_url="{inner}"),)


@pytest.mark.parametrize(
    ("document", "inner", "asked", "expected"),
    [
        (POD_OF_3, BUFFET, {"placement_id": "alone"}, 1),
        (POD_OF_3, BUFFET, {"placement_id": "beside", "pod_size": "3"}, 3),
        (POD_OF_3, BUFFET, {"placement_id": "alone", "pod_size": "3"}, 3),
        (BUFFET, BUFFET, {"placement_id": "alone"}, 1),
        (BUFFET, BUFFET, {"placement_id": "beside", "pod_size": "3"}, 3),
        ((*POD_OF_3[:2], DrawnAd(), DrawnAd()), BUFFET, {"placement_id": "beside", "pod_size": "3"}, 3),
        (WRAPPER, POD_OF_3, {"placement_id": "alone"}, 1),
        (WRAPPER, POD_OF_3, {"placement_id": "alone", "unwrap": "1"}, 1),
        (WRAPPER, POD_OF_3, {"placement_id": "alone", "unwrap": "1", "pod_size": "3"}, 3),
        (BUFFET, BUFFET, {"placement_id": "alone", "max_duration_s": "15"}, 1),
        ((DrawnAd(empty=True), DrawnAd()), BUFFET, {"placement_id": "alone"}, 1),
    ],
)
@pytest.mark.parametrize("billing", ["serve", "impression"])
async def test_a_document_with_several_ads_is_handed_out_as_it_is_paid(
    database: str,
    document: Sequence[DrawnAd],
    inner: Sequence[DrawnAd],
    asked: dict[str, str],
    expected: int,
    billing: str,
) -> None:
    async with network() as upstream_server:
        await set_up(
            database,
            upstream("network", upstream_server.url, timeout_ms=2000),
            theirs("theirs", billing=billing),
            own("one") + own("two"),
            placement("alone", "theirs"),
            placement("beside", "theirs", "one", "two"),
        )
        upstream_server.document = vast(document).replace(b"{inner}", f"{upstream_server.url}/inner".encode())
        upstream_server.inner = vast(inner)
        async with running(database) as server:
            found = await books(database, await server.served(**asked))
    assert found.ads == expected
    assert found.agree, found
    assert await disagreements(database) == []


async def test_a_wrapper_that_is_passed_on_may_lead_to_one_ad(database: str) -> None:
    async with network() as upstream_server:
        await set_up(database, upstream("network", upstream_server.url), theirs("theirs"))
        upstream_server.document = vast([DrawnAd(tag_url="http://127.0.0.1:9/pod")])
        async with running(database) as server:
            (ad,) = ads_of((await server.served(campaign_id="theirs")).vast)
    (wrapper,) = ad.iter("{*}Wrapper")
    assert wrapper.get("allowMultipleAds") == "false"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"frequency_caps": [{"impressions": 2, "per": "day"}, {"impressions": 5, "per": "week"}]}, 2),
        ({"budgets": {"lifetime": "2"}}, 2),
        ({"budgets": {"lifetime": "9", "day": "1"}}, 1),
        ({"frequency_caps": [{"impressions": 1, "per": "hour"}], "budgets": {"lifetime": "2"}}, 1),
    ],
)
async def test_what_caps_and_budgets_have_room_for_is_served_and_numbered_without_holes(
    database: str, limits: dict[str, object], expected: int
) -> None:
    async with network() as upstream_server:
        await set_up(database, upstream("network", upstream_server.url), theirs("theirs", **limits), own("last"))
        await set_up(database, placement("break", "theirs"))
        upstream_server.document = vast(POD_OF_3)
        async with running(database) as server:
            served = await server.served(placement_id="break", user_id="u", pod_size="3")
            assert (await books(database, served)).agree
            ads = ads_of(served.vast)
            assert len(ads) == expected
            if expected > 1:
                assert [ad.get("sequence") for ad in ads] == [str(number + 1) for number in range(expected)]
            assert isinstance(await server.ask(placement_id="break", user_id="u", pod_size="3"), NoFill)
    assert await disagreements(database) == []


async def test_asked_again_it_is_the_same_ads_of_the_same_document(database: str) -> None:
    async with network() as upstream_server:
        await set_up(database, upstream("network", upstream_server.url), theirs("theirs"))
        upstream_server.document = vast(POD_OF_3)
        async with running(database) as server:
            asked = {"campaign_id": "theirs", "user_id": "u", "pod_size": "2", "request_id": "again"}
            first = await server.served(**asked)
            upstream_server.document = vast(BUFFET, title="Other")
            again = await server.served(**asked)
    assert again.repeat
    assert again.vast == first.vast
    assert len(ads_of(again.vast)) == 2


ADS = st.lists(
    st.builds(
        DrawnAd,
        sequence=st.one_of(st.none(), st.integers(1, 4)),
        duration=st.sampled_from(["00:00:15", "00:00:30", "5", "soon"]),
        tag_url=st.sampled_from([None, None, None, "{inner}"]),
        empty=st.sampled_from([False, False, False, True]),
    ),
    max_size=6,
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "pod_size": st.integers(1, 5).map(str),
        "pod_duration_s": st.integers(10, 90).map(str),
        "max_duration_s": st.sampled_from(["15", "20", "30"]),
        "min_duration_s": st.sampled_from(["1", "10"]),
        "unwrap": st.just("1"),
        "vast_version": st.sampled_from(["3.0", "4.0", "4.2"]),
        "user_id": st.sampled_from("uvw"),
    },
)
NAMES = ("capped", "poor", "held", "house")
Case = tuple[list[DrawnAd], list[DrawnAd], str, Sequence[str], dict[str, str]]
"""An upstream's Ads, the Ads that its Wrappers lead to, their version, two campaigns, and a request."""
PAIRS = st.permutations(NAMES).map(lambda names: names[:2])
CASES = st.tuples(ADS, ADS, st.sampled_from(["3.0", "4.0", "4.2"]), PAIRS, ASKED)


@pytest.fixture
async def house(database: str) -> AsyncIterator[tuple[str, Network, Server]]:
    """A worker with campaigns of every kind on one upstream."""
    async with network() as upstream_server:
        await set_up(
            database,
            upstream("network", upstream_server.url, timeout_ms=2000, breaker_failures=10_000),
            theirs("capped", without_user="serve", frequency_caps=[{"impressions": 7, "per": "day"}]),
            theirs("poor", budgets={"lifetime": "40"}),
            theirs("held", billing="impression", budgets={"lifetime": "60", "day": "50"}),
            own("house"),
            *(placement(f"{one}-{two}", one, two) for one in NAMES for two in NAMES if one != two),
        )
        async with running(database) as server:
            yield database, upstream_server, server


async def test_whatever_upstreams_answer_the_ads_are_the_serves(house: tuple[str, Network, Server]) -> None:
    """Documents x caps x budgets x requests: each Ad in an answer is a serve, and a charge or a hold."""
    database, upstream_server, server = house
    drawn = count()

    async def trial(case: Case) -> None:
        document, inner, version, names, asked = case
        next(drawn)
        upstream_server.document = vast(document, version).replace(b"{inner}", f"{upstream_server.url}/inner".encode())
        upstream_server.inner = vast([ad for ad in inner if ad.tag_url is None])
        outcome = await server.ask(placement_id="-".join(names), **asked)
        if isinstance(outcome, NoFill):
            return
        assert outcome.render_error is None
        found = await books(database, outcome)
        assert found.agree, found
        assert 1 <= found.ads <= int(asked.get("pod_size", "1"))
        async with connected(database) as connection:
            assert await connection.fetchval(COUNTED, outcome.request_key) <= 7

    await _draw(trial)
    assert next(drawn) > 50
    assert await disagreements(database) == []


async def _draw(trial: Callable[[Case], Coroutine[None, None, None]]) -> None:
    """Hypothesis draws in another thread, because the tests use the event loop."""
    loop = asyncio.get_running_loop()

    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(CASES)
    def draw(case: Case) -> None:
        asyncio.run_coroutine_threadsafe(trial(case), loop).result()

    await asyncio.to_thread(draw)
