"""A1 and A2: no client can bypass the placements, or use up another publisher's rate limit."""

import pytest

from app.domain import NoFillReason
from app.errors import InvalidRequest
from tests.campaigns import own_campaign, placement, publisher, set_up
from tests.invariants.world import Server, running

ASKED = 12


async def refusal(server: Server, **values: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        await server.ask(**values)
    return str(refused.value)


async def reasons(server: Server, **values: str) -> set[NoFillReason | None]:
    """The reasons of a dozen requests, one after the other; None for an ad."""
    outcomes = [await server.ask(**values, user_id=f"u{index}") for index in range(ASKED)]
    return {getattr(outcome, "reason", None) for outcome in outcomes}


async def test_a_campaign_that_is_not_direct_is_sold_by_its_placements_alone(database: str) -> None:
    await set_up(database, own_campaign("plain", direct=False), placement("preroll", "plain"))
    async with running(database) as server:
        assert await server.campaign(placement_id="preroll") == "plain"
        refused = await refusal(server, campaign_id="plain")
        assert refused == await refusal(server, campaign_id="nowhere") == "campaign_id: unknown campaign_id"


async def test_direct_goes_for_the_next_request_whether_it_is_turned_on_or_off(database: str) -> None:
    await set_up(database, own_campaign("spring", direct=False))
    async with running(database) as server:
        await refusal(server, campaign_id="spring")
        await set_up(database, own_campaign("spring", direct=True))
        assert await server.campaign(campaign_id="spring") == "spring"
        await set_up(database, own_campaign("spring", direct=False))
        assert await server.reason(campaign_id="spring") is NoFillReason.NO_CANDIDATE
        await refusal(server, campaign_id="spring")


async def test_a_claimed_publisher_id_uses_up_nobodys_limit(database: str) -> None:
    await set_up(
        database,
        publisher("limited", requests_per_s=1),
        publisher("other"),
        own_campaign("spring"),
        placement("theirs", "spring", publisher_id="limited"),
        placement("elsewhere", "spring", publisher_id="other"),
    )
    async with running(database) as server:
        assert await reasons(server, campaign_id="spring", publisher_id="limited") == {None}
        assert await reasons(server, placement_id="elsewhere", publisher_id="limited") == {None}
        assert await server.campaign(placement_id="theirs") == "spring"
        assert await reasons(server, placement_id="theirs", publisher_id="other") >= {NoFillReason.RATE_LIMIT}
