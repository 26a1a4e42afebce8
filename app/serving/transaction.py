"""THE transaction: cap check, fetch and spend for a group of requests, in one Postgres transaction.

    look        where there is a choice or a doubt: which candidates may serve at all; no locks
    take        count the ad in every cap window; locks rows of frequency_caps, sorted
    fetch       ads that are not in hand come from their upstreams, all at once, for as long as patience lasts
    spend       lock the budgets, sorted, and pay for as many ads as they have room for; book the serves
    give back   ads that were not paid for are not counted
    look again  whether a request that got no ad was served elsewhere meanwhile, by its first attempt

Only when COMMIT has returned does anybody hear of an ad. Raised errors roll everything back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog
from asyncpg import Connection, Record

from app.domain import Campaign, Catalog, NoFillReason
from app.errors import UpstreamFailed
from app.serving.chooser import Chooser
from app.serving.fetch_wait import FetchWaitLimiter
from app.serving.group import Group, Late
from app.serving.group_admission import GroupAdmission, Recall
from app.serving.outcomes import FetchedAd, Served, ServedAd
from app.serving.pending import Choice, PendingRequest, Selection
from app.serving.recent_refusals import CAMPAIGN_TTL_S, USER_TTL_S, RecentRefusals
from app.serving.selection import select
from app.serving.spans import GroupSpan
from app.store import candidates, caps, serves, sessions, spending

log = structlog.get_logger()

Fetch = Callable[[PendingRequest, Campaign], Coroutine[Any, Any, FetchedAd]]
"""Gets an upstream's ad for a campaign; raises UpstreamFailed."""

Prepare = Callable[[Group], None]
"""Gets the answers of those who are served ready, while COMMIT is under way; must not raise."""

MIDNIGHT_MARGIN = timedelta(minutes=1)
"""Longer than any serving transaction may take, which ends with the time-outs of a statement and of being idle."""

UNOPENED = "unopened"

BEFORE_ANYTHING = datetime.min.replace(tzinfo=UTC)


class CatalogMovedError(Exception):
    """The database has another revision of the catalog than this worker: reload it and start the group again."""


class PeriodsUnopenedError(Exception):
    """A budget period has begun for which there is no row yet: make them and start the group again."""


class GroupTransaction:
    """Serves one group on one connection. Make one for each group."""

    def __init__(
        self,
        connection: "Connection[Record]",
        catalog: Catalog,
        recent_refusals: RecentRefusals,
        fetch: Fetch,
        recall: Recall,
        prepare: Prepare,
        patience: FetchWaitLimiter,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._recent_refusals = recent_refusals
        self._fetch = fetch
        self._prepare = prepare
        self._fetch_wait = patience
        self._group = Group()
        self._group_admission = GroupAdmission(connection, self._group, recall)
        self._at = BEFORE_ANYTHING

    async def serve(self, requests: Sequence[PendingRequest], steps: GroupSpan) -> Group:
        """The one code path, for one request and for many."""
        known = [pending.refusals.copy() for pending in requests]
        late: list[Late] = []
        try:
            async with self._connection.transaction():
                with steps.step("cap check"):
                    asking = await self._group_admission.admit(requests)
                    await self._look([pending for pending in asking if self._is_open_question(pending)])
                    asking, choices = self._choose(asking)
                    await self._take(choices)
                with steps.step("fetch"):
                    late = await self._fetch_missing(choices)
                    selections = _select(choices)
                with steps.step("spend"):
                    paid = await self._spend(selections)
                    await self._give_back(choices)
                asking = await self._answer_overtaken(asking, choices, late)
                self._group.served += self._served(paid)
                # This runs once COMMIT is on its way, when there is nothing else to do than to wait for the disk.
                asyncio.get_running_loop().call_soon(self._prepare, self._group)
        except BaseException:
            for _, task in late:
                task.cancel()
            for pending, refusals in zip(requests, known, strict=True):
                pending.refusals = refusals
            raise
        self._report(asking, choices, late)
        return self._group

    def _is_open_question(self, pending: PendingRequest) -> bool:
        """Whether to look first: there is a choice, an ad would have to be fetched, or it was refused a moment ago."""
        if len(pending.run) != 1:
            return True
        (campaign_id,) = pending.run
        has_ad = not self._catalog.campaigns[campaign_id].upstreams or campaign_id in pending.in_hand
        return not has_ad or self._recent_refusals.contains(campaign_id, (pending.user_key, campaign_id))

    async def _look(self, requests: list[PendingRequest]) -> None:
        """Asks the database about every candidate of these requests."""
        if not requests:
            return
        asked = [(pending, campaign_id) for pending in requests for campaign_id in pending.run]
        seen = await candidates.check_candidates(
            self._connection,
            [campaign_id for _, campaign_id in asked],
            [pending.user_key for pending, _ in asked],
            [pending.request.session_id for pending, _ in asked],
        )
        self._hear(seen.revision, seen.at)
        for no, reason in seen.refusals.items():
            self._refuse(*asked[no], reason)

    def _hear(self, revision: int, at: datetime) -> None:
        """Every statement says by which catalog it went."""
        self._at = at
        if revision != self._catalog.revision:
            raise CatalogMovedError

    def _refuse(self, pending: PendingRequest, campaign_id: str, reason: str) -> None:
        if reason == UNOPENED:
            raise PeriodsUnopenedError
        pending.refusals[campaign_id] = NoFillReason(reason)
        if reason == NoFillReason.FREQUENCY_CAP:
            self._recent_refusals.add((pending.user_key, campaign_id), USER_TTL_S)
        else:
            self._recent_refusals.add(campaign_id, CAMPAIGN_TTL_S)

    def _choose(self, requests: list[PendingRequest]) -> tuple[list[PendingRequest], list[Choice]]:
        """The requests that need not wait for the next group, and what was chosen for them."""
        chooser = Chooser(self._catalog)
        deciding: list[PendingRequest] = []
        choices: list[Choice] = []
        for pending in requests:
            chosen = chooser.choose(pending, self._group_admission.played.get(pending.request.session_id, ()))
            if chosen is None:
                self._group.again.append(pending)
            else:
                deciding.append(pending)
                choices += chosen
        return deciding, choices

    async def _take(self, choices: list[Choice]) -> None:
        """Counts as many ads as there may be; refuses the choices for which a cap has no room."""
        counted = [choice for choice in choices if choice.counted]
        if not counted:
            return
        taken = await caps.take(self._connection, [_count(choice) for choice in counted])
        self._hear(taken.revision, taken.at)
        for position, window, ads in taken.short:
            choice = counted[position]
            choice.short_windows[window] = ads
            if not ads:
                self._refuse(choice.pending, choice.campaign.id, NoFillReason.FREQUENCY_CAP)

    async def _fetch_missing(self, choices: list[Choice]) -> list[Late]:
        """Fetches, all at once, what is not in hand; returns what is still on its way when patience runs out."""
        tasks = {
            asyncio.create_task(self._fetch(choice.pending, choice.campaign)): choice
            for choice in choices
            if not choice.has_ad and choice.ads_allowed
        }
        if not tasks:
            return []
        try:
            with self._fetch_wait.waiting({_first_upstream(choice) for choice in tasks.values()}) as patient:
                awaited = [task for task, choice in tasks.items() if _first_upstream(choice) in patient]
                if awaited:
                    await asyncio.wait(awaited, timeout=self._fetch_wait.seconds)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        late: list[Late] = []
        for task, choice in tasks.items():
            if not task.done():
                late.append((choice, task))
                continue
            try:
                choice.fetched = choice.pending.in_hand[choice.campaign.id] = task.result()
            except UpstreamFailed:
                choice.refuse(NoFillReason.UPSTREAM)
            except Exception:
                log.exception("fetch failed", campaign_id=choice.campaign.id)
                choice.refuse(NoFillReason.UPSTREAM)
        return late

    async def _spend(self, selections: list[Selection]) -> list[Selection]:
        """Pays for the ads, first come first served; not for requests whose deadline has passed already."""
        payable = [selection for selection in selections if not selection.choice.pending.over]
        if not payable:
            return []
        spent = await spending.spend(self._connection, [_payment(selection) for selection in payable])
        self._hear(spent.revision, spent.at)
        paid: list[Selection] = []
        for index, selection in enumerate(payable):
            choice = selection.choice
            if reason := spent.refusals.get(index):
                self._refuse(choice.pending, choice.campaign.id, reason)
            else:
                choice.ads_paid += 1
                paid.append(selection)
        _number_slots(paid)
        await self._remember(paid)
        return paid

    async def _remember(self, paid: list[Selection]) -> None:
        """Writes what makes a request answerable again, and what its session has now played."""
        documents = [
            (selection.choice.pending.request_key, selection.slot, fetched.document.body_with(selection.position))
            for selection in paid
            if selection.choice.pending.may_have_been_served and (fetched := selection.choice.fetched) is not None
        ]
        if documents:
            await serves.store_documents(self._connection, documents)
        # Of requests without a name too: the server asks for one again whose connection broke.
        if paid and _near_midnight(self._at):
            request_keys = {selection.choice.pending.request_key for selection in paid}
            await serves.claim_midnight_requests(self._connection, list(request_keys))
        played = [
            (choice.pending.request.session_id, choice.creative.id)
            for choice in (selection.choice for selection in paid)
            if choice.pending.request.session_id is not None and choice.creative is not None
        ]
        if played:
            await sessions.mark_played(self._connection, played)

    async def _give_back(self, choices: list[Choice]) -> None:
        """No ad, no count."""
        unpaid = [choice for choice in choices if choice.counted and choice.ads_paid < choice.ads_max]
        if not unpaid:
            return
        revision = await caps.give_back(
            self._connection,
            [_count(choice) for choice in unpaid],
            [choice.ads_paid for choice in unpaid],
            [
                caps.CapShortfall(position, window, ads)
                for position, choice in enumerate(unpaid)
                for window, ads in choice.short_windows.items()
            ],
        )
        if revision != self._catalog.revision:
            raise CatalogMovedError

    async def _answer_overtaken(
        self, asking: list[PendingRequest], choices: list[Choice], late: list[Late]
    ) -> list[PendingRequest]:
        """Looks once more for earlier serves of requests that got no ad; returns the requests without those it found.

        A first attempt that was still under way when they were admitted may have taken the last room there was. What
        refused them was committed, so that its serve is seen now, and is their answer.
        """
        settled = {choice.pending for choice in choices if choice.ads_paid} | {choice.pending for choice, _ in late}
        refused = [pending for pending in asking if pending not in settled]
        settled.update(await self._group_admission.answer_repeats(refused))
        return [pending for pending in asking if pending in settled]

    def _served(self, paid: list[Selection]) -> list[tuple[PendingRequest, Served]]:
        """What the requests get that were paid for."""
        ads: dict[PendingRequest, list[ServedAd]] = {}
        for selection in paid:
            ads.setdefault(selection.choice.pending, []).append(selection.served_ad)
        served = []
        for pending, of_ticket in ads.items():
            pending.attempted = tuple(of_ticket)
            served.append((pending, Served(pending.request_key, self._at, pending.attempted)))
        return served

    def _report(self, asking: list[PendingRequest], choices: list[Choice], late: list[Late]) -> None:
        """Sorts the requests that were not served into late and undecided."""
        paid = {choice.pending for choice in choices if choice.ads_paid}
        waiting = {choice.pending for choice, _ in late}
        for pending in asking:
            pending.heard = pending.heard or self._at is not BEFORE_ANYTHING
            if pending not in paid and pending not in waiting:
                self._group.undecided.append(pending)
        for choice, task in late:
            if choice.pending in paid:
                task.cancel()
            else:
                self._group.late.setdefault(choice.pending, []).append((choice, task))


def _first_upstream(choice: Choice) -> str:
    return choice.campaign.upstreams[0]


def _select(choices: list[Choice]) -> list[Selection]:
    """What a fetched ad is like is not known before it is here; an own creative was chosen because it fits."""
    selections: list[Selection] = []
    for _, of_ticket in groupby(choices, key=attrgetter("pending")):
        with_ad = [choice for choice in of_ticket if choice.has_ad and choice.ads_allowed]
        if with_ad:
            selections += select(with_ad)
    return selections


def _number_slots(paid: list[Selection]) -> None:
    """The slots of each request without holes, as the statement that paid for them has numbered them."""
    used: dict[PendingRequest, int] = {}
    for selection in paid:
        pending = selection.choice.pending
        selection.slot = used.get(pending, 0)
        used[pending] = selection.slot + 1


def _count(choice: Choice) -> caps.CapIncrement:
    pending = choice.pending
    return caps.CapIncrement(choice.campaign.id, pending.user_key, pending.request.session_id, choice.ads_max)


def _payment(selection: Selection) -> spending.Payment:
    choice = selection.choice
    pending = choice.pending
    return spending.Payment(
        request_key=pending.request_key,
        slot=selection.slot,
        campaign_id=choice.campaign.id,
        creative_id=choice.creative.id if choice.creative else None,
        upstream_id=choice.fetched.upstream_id if choice.fetched else None,
        placement_id=pending.request.placement_id,
        user_key=pending.user_key,
        session_id=pending.request.session_id,
        fingerprint=pending.fingerprint,
        waits_long=pending.request.stitched or pending.request.pod_size > 1,
    )


def _near_midnight(at: datetime) -> bool:
    return (at + MIDNIGHT_MARGIN).date() != (at - MIDNIGHT_MARGIN).date()
