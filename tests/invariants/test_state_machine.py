"""After any events in any order, the database agrees with a model in plain Python."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.beacons.settlement import settle, sweep
from app.embedded import EmbeddedPostgres
from app.errors import Conflict
from app.serving.keys import hash_key, user_key
from app.serving.outcomes import NoFill, Served
from app.store.holds import Beacon
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.clock import set_clock
from tests.faults.upstream_server import EMPTY, UpstreamServer, answer, inline
from tests.invariants.model import PERIODS, Answer, Campaign, Model, window_start
from tests.invariants.world import SECRET, Server, running
from tests.players import disagreements
from tests.postgres import cloned_database

Result = TypeVar("Result")
Request = tuple[str, str, str | None]
"""The request's id, its placement or campaign, and its user."""

NOW = datetime(2026, 3, 7, 22, 30, tzinfo=UTC)
FLIGHT = {"starts_at": NOW - timedelta(seconds=200_000), "ends_at": NOW + timedelta(seconds=800_000)}
"""A million seconds, so that the elapsed fraction has few decimals."""
SPRING = Campaign("spring", **FLIGHT, timezone="America/New_York")
FETCHED = Campaign("fetched", **FLIGHT, timezone="Asia/Kolkata", upstreams=("network",))
HOUSE = Campaign("house", NOW - timedelta(days=400), NOW + timedelta(days=400))
PLACES = {
    "preroll": ("spring", "fetched", "house"),
    "midroll": ("fetched", "spring"),
    "spring": ("spring",),
    "fetched": ("fetched",),
}
USERS = {user_key(hash_key(SECRET), name): name for name in ("u", "v")}
CRASH = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'adserver-serving'
"""

amounts = st.integers(0, 12).map(Decimal)
units = st.integers(0, 6)
some_budgets = st.one_of(
    st.fixed_dictionaries(
        {
            "budgets": st.fixed_dictionaries({}, optional=dict.fromkeys(PERIODS, amounts)),
            "units": st.fixed_dictionaries({}, optional=dict.fromkeys(PERIODS, units)),
        }
    ),
    amounts.map(lambda amount: {"budgets": {"lifetime": amount}, "units": {}, "pacing": "even"}),
    units.map(lambda ads: {"budgets": {}, "units": {"lifetime": ads}, "pacing": "even"}),
)
some_caps = st.dictionaries(
    st.sampled_from(["minute", "hour", "day", "week", "month", "lifetime"]), st.integers(1, 3), max_size=3
)
some_values = st.fixed_dictionaries(
    {"pacing": st.just("asap")},
    optional={
        "status": st.sampled_from(["active", "active", "paused"]),
        "price": st.sampled_from(["0", "1", "2.5", "0.000001"]).map(Decimal),
        "billing": st.sampled_from(["serve", "impression"]),
        "without_user": st.sampled_from(["skip", "serve"]),
        "hold_ttl": st.sampled_from([timedelta(minutes=10), timedelta(hours=30)]),
        "caps": some_caps,
    },
)
some_limits = st.fixed_dictionaries(
    {
        "price": st.just(Decimal(1)),
        "billing": st.sampled_from(["serve", "impression"]),
        "budgets": st.dictionaries(st.sampled_from(PERIODS), st.integers(1, 4).map(Decimal), min_size=1),
        "caps": st.dictionaries(st.sampled_from(["hour", "day", "week"]), st.integers(1, 3), min_size=1, max_size=2),
    }
)
some_time = st.one_of(
    st.integers(1, 100_000),
    st.sampled_from([30, 60, 3600, 86_399, 86_400, 86_401]),
).map(lambda seconds: timedelta(seconds=seconds))


def in_file(model: Campaign) -> str:
    """The campaign in the format of a campaign file."""
    make = campaign if model.upstreams else own_campaign
    values = {"upstreams": list(model.upstreams)} if model.upstreams else {}
    return make(
        model.id,
        advertiser=model.id,
        starts_at=model.starts_at.isoformat(),
        ends_at=model.ends_at.isoformat(),
        timezone=model.timezone,
        status=model.status,
        cpm=str((model.price * 1000).quantize(Decimal("0.001"))),
        billing=model.billing,
        pacing=model.pacing,
        without_user=model.without_user,
        hold_ttl_s=int(model.hold_ttl.total_seconds()),
        budgets={
            period: _budget(model, period) for period in PERIODS if period in model.budgets or period in model.units
        },
        frequency_caps=[{"impressions": cap, "per": window} for window, cap in model.caps.items()],
        **values,
    )


def _budget(model: Campaign, period: str) -> str | dict[str, object]:
    if period not in model.units:
        return str(model.budgets[period])
    money = {"amount": str(model.budgets[period])} if period in model.budgets else {}
    return {**money, "impressions": model.units[period]}


class Serving(RuleBasedStateMachine):
    """Two workers on one database, and the model."""

    postgres: ClassVar[EmbeddedPostgres]
    template: ClassVar[str]
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(NOW, SPRING, FETCHED, HOUSE)
        self.asked = 0
        self.request_keys: dict[str, Any] = {}
        self.runner = asyncio.Runner()
        self.open = AsyncExitStack()
        self.run(self._open())

    def run(self, doing: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(doing)

    async def _open(self) -> None:
        self.url = await self.open.enter_async_context(cloned_database(self.postgres, self.template))
        self.owner = await asyncpg.connect(self.url)
        self.open.push_async_callback(self.owner.close)
        self.network = await self.open.enter_async_context(UpstreamServer())
        await set_clock(self.url, NOW.isoformat())
        await set_up(
            self.url,
            upstream("network", self.network.url, timeout_ms=5000, breaker_failures=1000),
            *(in_file(model) for model in self.model.campaigns.values()),
            *(placement(place, *candidates) for place, candidates in PLACES.items()),
        )
        # No more connections than a request has attempts, because a crash ends all of them.
        # The short wait lets ads arrive both before and after it; the model expects the same of both.
        limits = {"serve_connections": 2, "fetch_connections": 2, "group_fetch_wait_s": 0.06}
        self.workers = [await self.open.enter_async_context(running(self.url, **limits)) for _ in range(2)]

    def teardown(self) -> None:
        try:
            assert self.run(disagreements(self.url)) == []
        finally:
            self.run(self.open.aclose())
            self.runner.close()

    @initialize(spring=some_limits, fetched=some_limits)
    def begin_with_limits(self, spring: dict[str, Any], fetched: dict[str, Any]) -> None:
        self.apply("spring", spring, {})
        self.apply("fetched", fetched, {})

    @rule(
        target=requests,
        place=st.sampled_from(list(PLACES)),
        user_id=st.sampled_from(["u", "u", "v", None]),
        times=st.integers(1, 4),
    )
    def ask(self, place: str, user_id: str | None, times: int) -> MultipleResults[Request]:
        asked = []
        for _ in range(times):
            self.asked += 1
            asked.append((f"r{self.asked}", place, user_id))
            self._ask(self.workers[self.asked % 2], *asked[-1])
        return multiple(*asked)

    @rule(request=requests, worker=st.integers(0, 1))
    def ask_again(self, request: Request, worker: int) -> None:
        self._ask(self.workers[worker], *request)

    @rule(request=requests, worker=st.integers(0, 1))
    def ask_for_somebody_else_under_the_same_name(self, request: Request, worker: int) -> None:
        name, place, user_id = request
        self._ask(self.workers[worker], name, place, "v" if user_id == "u" else "u")

    @rule(request=requests, worker=st.integers(0, 1), turns=st.integers(0, 40))
    def crash_while_it_is_asked(self, request: Request, worker: int, turns: int) -> None:
        self._ask(self.workers[worker], *request, crash_after=turns)

    def _ask(
        self, worker: Server, name: str, place: str, user_id: str | None, *, crash_after: int | None = None
    ) -> None:
        parameters = {"request_id": name} | ({"user_id": user_id} if user_id else {})
        parameters |= {"campaign_id": place} if place in self.model.campaigns else {"placement_id": place}
        expected = self.model.ask(name, PLACES[place], user_id)
        outcome = self.run(self._outcome(worker, parameters, crash_after))
        if isinstance(outcome, Served):
            (ad,) = outcome.ads
            assert expected == Answer(ad.campaign_id)
            self.request_keys[name] = outcome.request_key
        elif isinstance(outcome, NoFill):
            assert outcome.reason in expected.reasons
        else:
            assert expected == Answer()

    async def _outcome(
        self, worker: Server, parameters: dict[str, str], crash_after: int | None
    ) -> Served | NoFill | Conflict:
        asking = asyncio.create_task(worker.ask(**parameters))
        if crash_after is not None:
            for _ in range(crash_after):
                await asyncio.sleep(0)
            await self.owner.execute(CRASH)
        while True:
            try:
                outcome = await asking
            except Conflict as conflict:
                return conflict
            if crash_after is None or not (isinstance(outcome, NoFill) and outcome.reason == "busy"):
                return outcome
            asking = asyncio.create_task(worker.ask(**parameters))

    @rule(campaign_id=st.sampled_from(["spring", "fetched"]), values=some_values, budgets=some_budgets)
    def apply(self, campaign_id: str, values: dict[str, Any], budgets: dict[str, Any]) -> None:
        changed = self.model.campaigns[campaign_id] = replace(self.model.campaigns[campaign_id], **values | budgets)
        self.run(set_up(self.url, in_file(changed)))

    @rule(passed=some_time)
    def time_passes(self, passed: timedelta) -> None:
        self._set_clock(self.model.now + passed)

    @rule(
        window=st.sampled_from(["minute", "hour", "day", "week"]),
        timezone=st.sampled_from([SPRING.timezone, FETCHED.timezone]),
    )
    def the_next_window_begins(self, window: str, timezone: str) -> None:
        began = window_start(window, self.model.now, timezone)
        later = self.model.now
        while (begins := window_start(window, later, timezone)) == began:
            later += timedelta(minutes=1)
        self._set_clock(begins)

    def _set_clock(self, now: datetime) -> None:
        self.model.now = now
        self.run(set_clock(self.url, now.isoformat()))

    @rule(fills=st.booleans())
    def the_upstream_changes_its_mind(self, fills: bool) -> None:
        self.model.upstream_fills = fills
        self.network.behavior = answer(inline() if fills else EMPTY)

    @rule(request=requests, seen=st.booleans())
    def a_beacon_comes(self, request: Request, seen: bool) -> None:
        name = request[0]
        if name not in self.request_keys:
            return
        ad = self.model.served[name]
        event = "impression" if seen else "error"
        beacon = Beacon(self.request_keys[name], 0, ad.served_at.date(), ad.campaign.id, event)
        self.run(self._settle(beacon))
        self.model.end_hold(name, seen=seen)

    async def _settle(self, beacon: Beacon) -> None:
        async with self.workers[0].store.connection() as connection:
            await settle(connection, [beacon, beacon])

    @rule()
    def holds_expire(self) -> None:
        self.run(sweep(self.workers[0].store))
        self.model.sweep()

    @invariant()
    def money_is_what_the_model_says(self) -> None:
        for row in self.run(self.owner.fetch("TABLE budget_tracking")):
            key = (row["campaign_id"], row["period"], row["period_start"])
            assert (row["spent"], row["held"]) == (self.model.spent[key], self.model.held[key]), key
            assert row["impressions"] == self.model.units[key], key

    @invariant()
    def counts_are_what_the_model_says(self) -> None:
        rows = self.run(self.owner.fetch("SELECT * FROM frequency_caps WHERE count > 0"))
        counted = {
            (USERS[row["user_key"]], row["campaign_id"], row["window"], row["window_start"]): row["count"]
            for row in rows
        }
        assert counted == {key: count for key, count in self.model.seen.items() if count}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("examples", "steps"), [(3, 40), pytest.param(60, 50, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_the_database_does_what_the_model_does(
    postgres: EmbeddedPostgres, migrated_template: str, examples: int, steps: int
) -> None:
    class Bound(Serving):
        pass

    Bound.postgres, Bound.template = postgres, migrated_template
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            database=None,
            phases=[Phase.generate],  # shrinking takes minutes; add Phase.shrink for a short example
            suppress_health_check=list(HealthCheck),
        ),
    )
