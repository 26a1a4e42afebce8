"""Applying a campaign file is atomic and idempotent."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from app.domain import Budget, BudgetPeriod
from app.errors import InvalidFile
from app.store import budget_periods, catalog_writer
from app.store.connections import Store
from tests.integration.setup.files import FLIGHT, Document, apply_document, campaign, creative, loaded, owned
from tests.players import connected
from tests.unit.campaign_file.examples import document

READ_AS_A_WHOLE = """
SELECT n_tup_ins AS rows, seq_scan AS times FROM pg_stat_xact_user_tables WHERE relname = 'budget_tracking'
"""


async def faults_of(store: Store, wrong: Document) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFile) as refused:
        await apply_document(store, wrong)
    return [(fault.key, fault.reason) for fault in refused.value.faults]


async def test_applying_a_file_twice_changes_nothing_the_second_time(store: Store) -> None:
    first = await apply_document(store, document())
    before = await loaded(store)
    second = await apply_document(store, document())
    assert first.created == (
        "advertiser Acme",
        "advertiser The Network",
        "publisher tv",
        "upstream primary",
        "campaign spring",
        "campaign network",
        "creative spring-15s",
        "placement preroll",
    )
    assert (first.revision, second.revision) == (1, 1)
    named = tuple(name for name in first.created if not name.startswith("advertiser"))
    assert (second.created, second.updated, second.unchanged) == ((), (), named)
    assert await loaded(store) == before


async def test_what_a_file_does_not_name_stays_as_it_is(store: Store) -> None:
    await apply_document(store, document())
    before = await loaded(store)
    changed = await apply_document(store, {"campaigns": [campaign("network", upstreams=["primary"], cpm="3.00")]})
    assert (changed.created, changed.updated, changed.revision) == ((), ("campaign network",), 2)
    after = await loaded(store)
    assert after.campaigns["spring"] == before.campaigns["spring"]
    assert after.placements == before.placements
    assert after.creatives == before.creatives


async def test_what_a_file_names_is_replaced_as_a_whole(store: Store) -> None:
    await apply_document(store, document())
    await apply_document(store, {"campaigns": [campaign(timezone="America/New_York")]})
    spring = (await loaded(store)).campaigns["spring"]
    assert (spring.budgets, spring.frequency_caps) == ({}, ())


async def test_direct_changes_only_where_a_file_says_so(store: Store) -> None:
    async def direct_after(**keys: object) -> bool | None:
        await apply_document(store, owned(**keys))
        return (await loaded(store)).campaigns["spring"].direct

    assert await direct_after() is False
    assert await direct_after(direct=True) is True
    assert await direct_after(cpm="3.00") is True
    assert await direct_after(direct=False) is False
    assert await direct_after(cpm="4.00") is False


async def test_one_fault_and_nothing_is_applied(store: Store) -> None:
    wrong = document()
    wrong["placements"][0]["campaigns"].append("nowhere")
    assert await faults_of(store, wrong) == [("placements[0].campaigns[2]", "unknown campaign 'nowhere'")]
    empty = await loaded(store)
    assert (empty.revision, empty.campaigns, empty.publishers) == (0, {}, {})


async def test_references_lead_to_the_file_or_to_the_database(store: Store) -> None:
    await apply_document(store, document())
    await apply_document(store, {"placements": [{"id": "p2", "publisher_id": "tv", "campaigns": ["spring"]}]})
    wrong = {
        "campaigns": [campaign("c2", upstreams=["primary", "secondary"])],
        "creatives": [creative("k", "nowhere")],
        "placements": [{"id": "p3", "publisher_id": "tv", "campaigns": ["c2", "c3"]}],
    }
    assert await faults_of(store, wrong) == [
        ("campaigns[0].upstreams[1]", "unknown upstream 'secondary'"),
        ("creatives[0].campaign_id", "unknown campaign 'nowhere'"),
        ("placements[0].campaigns[1]", "unknown campaign 'c3'"),
    ]


async def test_a_thing_with_a_fault_is_not_missed_by_those_that_refer_to_it(store: Store) -> None:
    wrong = document()
    wrong["upstreams"][0]["timeout_ms"] = 0
    wrong["campaigns"][0]["cpm"] = "-1"
    wrong["creatives"][0]["duration_s"] = 0
    assert [key for key, _ in await faults_of(store, wrong)] == [
        "upstreams[0].timeout_ms",
        "campaigns[0].cpm",
        "creatives[0].duration_s",
    ]


async def test_a_publisher_that_only_a_placement_names_begins_without_limits(store: Store) -> None:
    without = document()
    del without["publishers"]
    applied = await apply_document(store, without)
    assert applied.created[0] == "publisher tv"
    assert (await loaded(store)).publishers["tv"].requests_per_s is None
    again = await apply_document(store, document())
    assert again.updated == ("publisher tv",)
    assert (await apply_document(store, without)).updated == ()
    assert (await loaded(store)).publishers["tv"].requests_per_s == 100


async def test_an_active_campaign_has_creatives_or_upstreams_and_not_both(store: Store) -> None:
    assert await faults_of(store, {"campaigns": [campaign()]}) == [
        ("campaigns[0].upstreams", "an active campaign requires upstreams or creatives")
    ]
    await apply_document(store, {"campaigns": [campaign(status="paused")]})
    await apply_document(store, owned())
    upstream = {"id": "u", "tag_url": "http://ads.example/vast"}
    wrong = {"upstreams": [upstream], "campaigns": [campaign(upstreams=["u"])]}
    assert await faults_of(store, wrong) == [
        ("campaigns[0].upstreams", "must be empty, because the campaign has creatives")
    ]
    await apply_document(store, {"upstreams": [upstream], "campaigns": [campaign("network", upstreams=["u"])]})
    assert await faults_of(store, {"creatives": [creative("k", "network")]}) == [
        ("creatives[0].campaign_id", "must not be 'network', which gets its ads from upstreams")
    ]


async def test_a_campaign_that_has_ended_does_not_come_back(store: Store) -> None:
    await apply_document(store, owned(status="ended"))
    for status in ("active", "paused"):
        assert await faults_of(store, owned(status=status)) == [
            ("campaigns[0].status", "must stay 'ended': an ended campaign cannot be resumed")
        ]
    assert (await apply_document(store, owned(status="ended", cpm="1"))).updated == ("campaign spring",)


async def test_a_creative_does_not_change_its_campaign(store: Store) -> None:
    await apply_document(store, owned("spring"))
    await apply_document(store, owned("summer"))
    assert await faults_of(store, {"creatives": [creative("spring-15s", "summer")]}) == [
        ("creatives[0].campaign_id", "must stay 'spring': a creative cannot move to another campaign")
    ]


async def test_changes_at_once_come_one_after_the_other(store: Store) -> None:
    await asyncio.gather(*(apply_document(store, owned(f"campaign{number}")) for number in range(5)))
    after = await loaded(store)
    assert (len(after.campaigns), after.revision) == (5, 5)


async def test_two_who_create_the_same_thing_at_once_create_it_once(store: Store) -> None:
    applied = await asyncio.gather(*(apply_document(store, owned()) for _ in range(5)))
    assert sorted(len(item.created) for item in applied) == [0, 0, 0, 0, 3]


async def test_the_database_is_asked_which_timezones_it_knows(store: Store) -> None:
    async with store.connection() as connection:
        unknown = await catalog_writer.find_unknown_timezones(connection, {"Europe/Berlin", "UTC", "Nowhere/Land"})
    assert unknown == {"Nowhere/Land"}


async def test_periods_of_many_campaigns_are_opened_without_reading_all_of_them_for_each(
    store: Store, database: str
) -> None:
    ids = [f"c{number}" for number in range(50)]
    budgeted = [campaign(campaign_id, status="paused", budgets={"lifetime": "1"}) for campaign_id in ids]
    await apply_document(store, {"campaigns": budgeted})
    async with connected(database) as owner:
        await owner.execute("TRUNCATE budget_tracking, budget_periods; ANALYZE budget_tracking, budget_periods")
    # What a connection has not yet told of earlier transactions would be counted too.
    async with connected(database) as connection, connection.transaction():
        await budget_periods.open_periods(connection, ids)
        (read,) = await connection.fetch(READ_AS_A_WHOLE)
    assert (read["rows"], read["times"] <= 1) == (50, True)


async def test_caps_are_removed_without_comparing_each_with_all_that_stay(store: Store) -> None:
    async with store.connection() as connection:
        arguments = ["spring"], ["spring"], ["campaign"], ["day"]
        plan = await connection.fetch(f"EXPLAIN {catalog_writer.DELETE_REMOVED_CAPS}", *arguments)
    text = "\n".join(line for (line,) in plan)
    assert "Anti Join" in text
    assert "SubPlan" not in text


async def test_the_first_request_finds_its_budget_periods(store: Store) -> None:
    await apply_document(store, owned(budgets={"hour": "10", "day": "20", "lifetime": "30"}))
    async with store.connection() as connection:
        rows = await connection.fetch('SELECT period, "limit" FROM budget_tracking ORDER BY "limit"')
    assert [(row["period"], int(row["limit"])) for row in rows] == [("hour", 10), ("day", 20), ("lifetime", 30)]


async def test_nought_may_have_any_exponent(store: Store) -> None:
    await apply_document(store, owned(cpm=Decimal("0E+999999"), budgets={"day": Decimal("-0E+999999")}))
    spring = (await loaded(store)).campaigns["spring"]
    assert (spring.price.amount, spring.budgets) == (0, {BudgetPeriod.DAY: Budget(Decimal(0))})


async def test_macros_that_nothing_fills_in_are_noted_and_not_refused(store: Store) -> None:
    def tagged(tag_url: str) -> Document:
        return {"upstreams": [{"id": "primary", "tag_url": tag_url}]}

    unknown = "https://ads.example/?cb=[CACHE_BUSTER]&c=${GDPR_CONSENT_755}&x={unknown}&t=[TIMESTAMP]"
    first = await apply_document(store, tagged(unknown))
    assert first.created == ("upstream primary",)
    assert first.notes == (
        "upstream primary: tag_url: unknown macro [CACHE_BUSTER] is sent unchanged; use [CACHEBUSTING]",
        "upstream primary: tag_url: unknown macro ${GDPR_CONSENT_755} is sent unchanged; use [GDPRCONSENT]",
        "upstream primary: tag_url: unknown macro {unknown} is sent unchanged",
    )
    assert (await apply_document(store, tagged(unknown))).notes == first.notes
    assert (await apply_document(store, tagged("https://ads.example/?cb=[CACHEBUSTING]&u={user_id}"))).notes == ()


async def test_a_creative_that_misses_the_flight_of_its_campaign_is_noted_and_not_refused(store: Store) -> None:
    file = owned()
    starts_at, ends_at = FLIGHT["starts_at"], FLIGHT["ends_at"]
    day = timedelta(days=1)
    file["creatives"] += [
        creative("past", starts_at=starts_at - day, ends_at=starts_at),
        creative("late", starts_at=ends_at),
        creative("archived", starts_at=ends_at, status="archived"),
        creative("first", ends_at=starts_at + day),
        creative("last", starts_at=ends_at - day),
    ]
    missed = (
        "creative past: is never served, because it ends before the flight of campaign spring",
        "creative late: is never served, because it starts after the flight of campaign spring",
    )
    assert (await apply_document(store, file)).notes == missed
    assert (await apply_document(store, {"creatives": file["creatives"]})).notes == missed
