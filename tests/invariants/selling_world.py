"""Two workers on one database, what may happen to them, and the model of what may be sold beside them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import asyncpg

from app.beacons.settlement import settle, sweep
from app.embedded import EmbeddedPostgres
from app.serving.keys import hash_key, user_key
from app.serving.outcomes import NoFill, Outcome, Served
from app.serving.transaction import GroupTransaction
from app.serving.viewing_sessions import ViewerIds, ViewingSessions
from app.store.holds import Beacon
from tests.campaigns import set_up
from tests.clock import set_clock
from tests.invariants.selling_catalogs import (
    ADVERTISERS,
    advertiser_in_file,
    campaign_in_file,
    order_in_file,
    placement_in_file,
    with_status,
)
from tests.invariants.selling_model import Ad, Campaign, Limit, Model, Order, Placement, Request
from tests.invariants.selling_rules import Judge
from tests.invariants.world import SECRET, Server, running
from tests.players import connected, disagreements
from tests.postgres import cloned_database

Catalog = tuple[list[Campaign], list[Order], list[Placement]]

NOW = datetime(2026, 3, 7, 21, 30, tzinfo=UTC)
USERS = ("u", "v", "w")
SESSIONS: dict[str, str | None] = {"known": "u", "unknown": None}


class FragileTransaction(GroupTransaction):
    """Loses its connection at the moment that `crash` names, once."""

    crash: ClassVar[str | None] = None

    async def _answer_overtaken(self, *steps: Any) -> Any:
        found = await super()._answer_overtaken(*steps)
        self._lose_connection("before commit")
        return found

    def _sort_unserved(self, *steps: Any) -> None:
        self._lose_connection("after commit")
        super()._sort_unserved(*steps)

    def _lose_connection(self, moment: str) -> None:
        if FragileTransaction.crash == moment:
            FragileTransaction.crash = None
            self._connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost")


class Selling:
    """The workers, the model, and the ads that were served so far."""

    def __init__(self, catalog: Catalog) -> None:
        self.model = Model(NOW, *catalog)
        self.model.sessions = SESSIONS
        self._asked: list[Request] = []
        """All named requests."""
        self._ads: list[Ad] = []
        self._keys: dict[Ad, tuple[UUID, int]] = {}
        """The key of the request of each ad, and the ad's slot."""
        self._viewers = {user_key(hash_key(SECRET), name): name for name in USERS}
        self._session_ids: dict[str, UUID] = {}

    async def begin(self, open_until: AsyncExitStack, postgres: EmbeddedPostgres, template: str) -> None:
        """Set up the catalog in a new database, and start the workers."""
        self.url = await open_until.enter_async_context(cloned_database(postgres, template))
        self._owner = await open_until.enter_async_context(connected(self.url))
        await set_clock(self.url, NOW.isoformat())
        await set_up(
            self.url,
            *map(advertiser_in_file, ADVERTISERS),
            *map(order_in_file, self.model.orders.values()),
            *map(campaign_in_file, self.model.campaigns.values()),
            *map(placement_in_file, self.model.places.values()),
        )
        limits = {"serve_connections": 2, "fetch_connections": 1, "request_deadline_s": 60}
        self._workers = [await open_until.enter_async_context(running(self.url, **limits)) for _ in range(2)]
        sessions = ViewingSessions(self._workers[0].store, hash_key(SECRET), 10)
        for name, user in SESSIONS.items():
            session = await sessions.create(ViewerIds(user_id=user), 86_400 * 365)
            self._session_ids[name] = session.id
            self._viewers[session.id] = name
        self._observe_clock()

    async def ask(self, requests: list[Request], *, is_repeated: bool, crash: str | None) -> None:
        """Send requests at the same time, each twice if `is_repeated`; one connection is lost at the moment `crash`."""
        named = [request if request.name is None else self._named(request) for request in requests]
        await self._ask(named * 2 if is_repeated else named, crash)

    async def ask_again(self, number: int, *, crash: str | None) -> None:
        """Repeat one of the named requests."""
        if self._asked:
            await self._ask([self._asked[-1 - number % len(self._asked)]], crash)

    def _named(self, request: Request) -> Request:
        named = replace(request, name=f"r{len(self._asked)}")
        self._asked.append(named)
        return named

    async def _ask(self, requests: Sequence[Request], crash: str | None) -> None:
        model = self.model
        earlier = {request: model.earlier_answer(request) for request in requests}
        before = {request: model.eligible(request) for request in requests}
        played = {name: frozenset(model.played[name]) for name in SESSIONS}
        FragileTransaction.crash = crash
        outcomes = await self._outcomes(requests, crash)
        FragileTransaction.crash = None
        new = []
        for request, outcome in zip(requests, outcomes, strict=True):
            known = model.earlier_answer(request)
            if known is not None:
                assert _served(outcome) == [(ad.campaign.id, ad.creative.id) for ad in known]
                continue
            assert earlier[request] is None
            self._record(request, outcome)
            new.append((request, _served(outcome)))
        is_alone = len(requests) == 1
        for request, served in new:
            after = before[request] if is_alone else model.eligible(request)
            Judge(model, request, before[request], after).judge(served, played.get(request.session or "", ()))

    def _record(self, request: Request, outcome: Outcome) -> None:
        ads = self.model.serve(request, _served(outcome))
        self._ads += ads
        if isinstance(outcome, Served):
            self._keys |= {ad: (outcome.request_key, found.slot) for ad, found in zip(ads, outcome.ads, strict=True)}

    async def _outcomes(self, requests: Sequence[Request], crash: str | None) -> list[Outcome]:
        asking = (
            self._outcome(self._workers[index % 2], request, may_be_busy=crash is not None)
            for index, request in enumerate(requests)
        )
        return await asyncio.gather(*asking)

    async def _outcome(self, worker: Server, request: Request, *, may_be_busy: bool) -> Outcome:
        """Return the outcome of a request; a named one that is too busy with a crash is repeated."""
        while True:
            outcome = await worker.ask(**self._parameters(request))
            is_busy = isinstance(outcome, NoFill) and outcome.reason == "busy"
            if not (is_busy and may_be_busy and request.name is not None):
                return outcome

    def _parameters(self, request: Request) -> dict[str, str]:
        values = {
            "placement_id": request.place,
            "user_id": request.user,
            "session_id": self._session_ids.get(request.session or ""),
            "request_id": request.name,
            "pod_size": request.pod_size,
            "pod_duration_s": request.pod_duration_s,
            "min_ads": request.min_ads,
            "competitors": request.competitors,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    async def hear(self, number: int, events: list[str]) -> None:
        """Send the beacons of one ad to both workers; the event `sold` is the one that its price is for."""
        if not self._ads:
            return
        ad = self._ads[-1 - number % len(self._ads)]
        request_key, slot = self._keys[ad]
        sold = "impression" if ad.campaign.billing == "serve" else ad.campaign.billing
        events = [sold if event == "sold" else event for event in events]
        beacons = [Beacon(request_key, slot, ad.served_at.date(), ad.campaign.id, event) for event in events]
        await self._settle_everywhere(beacons)
        for event in events:
            self.model.hear(ad, event)

    async def _settle_everywhere(self, beacons: list[Beacon]) -> None:
        async with self._workers[0].store.connection() as one, self._workers[1].store.connection() as other:
            await asyncio.gather(settle(one, beacons), settle(other, beacons))

    async def wait(self, passed: timedelta, *, swept: bool) -> None:
        """Let time pass, and release the holds that have expired if `swept`."""
        self.model.now += passed
        await set_clock(self.url, self.model.now.isoformat())
        self._observe_clock()
        if swept:
            await sweep(self._workers[0].store)
            self.model.sweep(self._ads)

    def _observe_clock(self) -> None:
        for worker in self._workers:
            worker.clock.observe(self.model.now)

    async def change_budgets(self, campaign_id: str, budgets: dict[str, Limit]) -> None:
        """Raise, lower, add or remove budgets of a campaign."""
        await self._change(replace(self.model.campaigns[campaign_id], budgets=budgets))

    async def change_order(self, order_id: str, limit: Limit) -> None:
        """Raise or lower what the campaigns of an order share."""
        self.model.orders[order_id] = changed = replace(self.model.orders[order_id], limit=limit)
        await set_up(self.url, order_in_file(changed))

    async def change_status(self, campaign_id: str, status: str) -> None:
        """Pause or resume a campaign."""
        await self._change(replace(self.model.campaigns[campaign_id], status=status))

    async def change_creative(self, campaign_id: str, number: int, status: str) -> None:
        """Take a creative down, or show it again."""
        campaign = self.model.campaigns[campaign_id]
        film = campaign.creatives[number % len(campaign.creatives)]
        if film.status != "archived":
            await self._change(with_status(campaign, film.id, status))

    async def _change(self, changed: Campaign) -> None:
        self.model.campaigns[changed.id] = changed
        await set_up(self.url, campaign_in_file(changed))

    async def check_books(self) -> None:
        """Fail if the database has other amounts or counts than the model."""
        model = self.model
        for row in await self._owner.fetch("TABLE budget_tracking"):
            key = (row["budget_id"], row["period"], row["period_start"])
            booked = (row["spent"], row["held"], row["impressions"])
            expected = (model.spent[key], model.held[key], model.units[key])
            assert booked == expected, (key, booked, expected)

        rows = await self._owner.fetch("SELECT * FROM frequency_caps WHERE count > 0")
        counted = {
            (self._viewers[row["user_key"]], row["campaign_id"], row["window"], row["window_start"]): row["count"]
            for row in rows
        }
        expected = {key: count for key, count in model.seen.items() if count}
        assert counted == expected, counted.items() ^ expected.items()

    async def end(self) -> None:
        """Fail if the books disagree with themselves."""
        found = await disagreements(self.url)
        assert not found, found


def _served(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the campaign and the creative of each ad of an answer."""
    if isinstance(outcome, NoFill):
        assert outcome.reason != "busy", "the server gave up"
        return []
    assert outcome.render_error is None
    return [(ad.campaign_id, ad.creative.id if ad.creative else "") for ad in outcome.ads]
