"""The transaction: cap check, fetch and spend for a group of requests, in one Postgres transaction.

    admit      answer repeated requests, defer duplicates, lock viewing sessions
    pre-check  ask which candidates may serve, where there is a choice or a recent refusal; takes no locks
    choose     pick a campaign and a creative for each slot
    count      count the ads in every cap window; locks rows of frequency_caps, sorted
    fetch      ask the upstreams for missing ads, all together, for a limited time
    select     pick the Ads of the upstreams' documents
    spend      lock the budgets, sorted, pay for as many ads as they have room for, and write the serves
    uncount    take back the counts of ads that were not paid for
    recheck    look once more for earlier serves of the requests that got no ad

No request is answered before COMMIT has returned. Every error rolls everything back.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from asyncpg import Connection, Record

from app.domain import Catalog, NoFillReason, is_creative_counter
from app.serving.answers import Answers
from app.serving.choice import Choice, Selection
from app.serving.chooser import Chooser
from app.serving.database_clock import DatabaseClock
from app.serving.fetch_wait import FetchWaitLimiter
from app.serving.group_admission import GroupAdmission
from app.serving.group_fetch import GroupFetch, PendingFetch
from app.serving.group_result import GroupResult
from app.serving.outcomes import Served, ServedAd
from app.serving.pending import PendingRequest
from app.serving.recent_refusals import CAMPAIGN_TTL_S, USER_TTL_S, RecentRefusals
from app.serving.selection import is_too_short, refuse_too_short, select
from app.serving.serve_records import write_serve_records
from app.serving.spans import GroupSpan, RequestTracer
from app.serving.upstream_ads import UpstreamAds
from app.store import candidate_checks, caps, spending

MISSING_PERIOD = "missing_period"
"""The database's refusal of a campaign that has no row for its current budget period."""


class StaleCatalogError(Exception):
    """The database has another catalog revision than this worker: reload it and start the group again."""


class PodTooShortError(Exception):
    """The budgets have room for fewer ads than a pod must have: nothing may be paid for it."""

    def __init__(self, pending: PendingRequest) -> None:
        super().__init__()
        self.pending = pending
        self.reasons = dict(pending.progress.refusals)
        """The refusals of the attempt, which are valid although it is rolled back."""


class MissingPeriodError(Exception):
    """A budget period has begun that has no row yet: insert the rows and start the group again."""


@dataclass(frozen=True, slots=True)
class GroupServices:
    """The objects that all group transactions of a worker share."""

    ads: UpstreamAds
    answers: Answers
    recent_refusals: RecentRefusals
    fetch_wait: FetchWaitLimiter
    tracer: RequestTracer
    clock: DatabaseClock


class GroupTransaction:
    """Serves one group on one connection, by one revision of the catalog. Make one for each group."""

    def __init__(self, connection: "Connection[Record]", catalog: Catalog, services: GroupServices) -> None:
        self._connection = connection
        self._catalog = catalog
        self._services = services
        self._result = GroupResult()
        self._admission = GroupAdmission(connection, catalog, services.ads, self._result)
        self._fetch = GroupFetch(catalog, services.ads, services.fetch_wait, services.tracer)
        self._database_time = datetime.min.replace(tzinfo=UTC)
        """The time of the last statement, by the database's clock."""
        self._is_revision_confirmed = False

    async def serve(self, group: Sequence[PendingRequest], span: GroupSpan) -> GroupResult:
        """Run the transaction; there is one code path for one request and for many.

        Raise StaleCatalogError, MissingPeriodError, PodTooShortError or the driver's error after the rollback.
        """
        fetches: list[PendingFetch] = []
        try:
            async with self._connection.transaction():
                with span.step("cap check"):
                    admitted = await self._admission.admit(group)
                    await self._pre_check([pending for pending in admitted if self._needs_pre_check(pending)])
                    deciding, choices = self._choose(admitted)
                    await self._count(choices)
                with span.step("fetch"):
                    fetches = await self._fetch_missing(choices)
                    selections = _select(choices, fetches)
                with span.step("spend"):
                    paid = await self._spend(selections)
                    await self._uncount(choices)
                deciding = await self._answer_overtaken(deciding, choices, fetches)
                self._result.served += self._served(paid)
                self._render_during_commit()
        except BaseException:
            for fetch in fetches:
                fetch.cancel()
            for pending in group:
                pending.roll_back_attempt()
            raise
        self._sort_unserved(deciding, choices, fetches)
        return self._result

    def _needs_pre_check(self, pending: PendingRequest) -> bool:
        """Return whether there is a choice, an ad to fetch, or a recent refusal of the only candidate."""
        progress = pending.progress
        if len(progress.lane_candidates) != 1:
            return True
        (campaign_id,) = progress.lane_candidates
        if self._catalog.campaigns[campaign_id].upstreams and campaign_id not in progress.ready_ads:
            return True
        return self._services.recent_refusals.contains(campaign_id, (progress.user_key, campaign_id))

    async def _pre_check(self, requests: list[PendingRequest]) -> None:
        """Ask the database about every candidate of these requests."""
        if not requests:
            return
        pairs = [(pending, campaign_id) for pending in requests for campaign_id in pending.progress.lane_candidates]
        campaign_ids = [campaign_id for _, campaign_id in pairs]
        checked = await candidate_checks.check_candidates(
            self._connection,
            campaign_ids,
            [pending.progress.user_key for pending, _ in pairs],
            [pending.request.session_id for pending, _ in pairs],
            is_plain=self._have_plain_caps(campaign_ids),
        )
        self._check_revision(checked.revision, checked.database_time)
        for index, reason in checked.refusals.items():
            self._refuse(*pairs[index], reason)

    def _have_plain_caps(self, campaign_ids: Iterable[str]) -> bool:
        """Return whether these campaigns have only caps of their own, over windows of the calendar."""
        rules = self._catalog.cap_rules
        return all(rules[campaign_id].is_plain for campaign_id in campaign_ids if campaign_id in rules)

    def _check_revision(self, revision: int, database_time: datetime) -> None:
        """Raise StaleCatalogError if a statement ran on another catalog revision."""
        if revision != self._catalog.revision:
            raise StaleCatalogError
        self._database_time = database_time
        self._services.clock.observe(database_time)
        self._is_revision_confirmed = True

    def _refuse(self, pending: PendingRequest, campaign_id: str, reason: str) -> None:
        if reason == MISSING_PERIOD:
            raise MissingPeriodError
        pending.refuse(campaign_id, NoFillReason(reason))
        if reason == NoFillReason.FREQUENCY_CAP:
            self._services.recent_refusals.add((pending.progress.user_key, campaign_id), USER_TTL_S)
        else:
            self._services.recent_refusals.add(campaign_id, CAMPAIGN_TTL_S)

    def _choose(self, admitted: list[PendingRequest]) -> tuple[list[PendingRequest], list[Choice]]:
        """Return the requests that this group decides, and their choices; defer the others."""
        chooser = Chooser(self._catalog, self._services.clock.now())
        deciding: list[PendingRequest] = []
        choices: list[Choice] = []
        for pending in admitted:
            chosen = chooser.choose(pending, self._admission.played.get(pending.request.session_id, ()))
            if chosen is None:
                self._result.deferred.append(pending)
            else:
                deciding.append(pending)
                choices += chosen
        return deciding, choices

    async def _count(self, choices: list[Choice]) -> None:
        """Count as many ads as the caps have room for, and refuse the choices for which a cap has none."""
        counted = [choice for choice in choices if choice.counted]
        if not counted:
            return
        taken = await caps.take(
            self._connection,
            [_cap_count(choice) for choice in counted],
            is_plain=self._have_plain_caps(choice.campaign.id for choice in counted),
        )
        self._check_revision(taken.revision, taken.database_time)
        for position, counter, window, ads in taken.shortfalls:
            choice = counted[position]
            choice.short_windows[counter, window] = ads
            if not ads and is_creative_counter(counter):
                choice.pending.refuse(counter, NoFillReason.FREQUENCY_CAP)
            elif not ads:
                self._refuse(choice.pending, choice.campaign.id, NoFillReason.FREQUENCY_CAP)

    async def _fetch_missing(self, choices: list[Choice]) -> list[PendingFetch]:
        """Fetch the ads that are not ready; return the fetches that outlast the wait."""
        missing = [choice for choice in choices if not choice.has_ad and choice.ads_allowed]
        return await self._fetch.fetch(missing) if missing else []

    async def _spend(self, selections: list[Selection]) -> list[Selection]:
        """Pay for the ads, first come first served, except those of requests that are done by now."""
        payable = [selection for selection in selections if not selection.choice.pending.is_done]
        if not payable:
            return []
        spent = await spending.spend(
            self._connection,
            [_payment(selection) for selection in payable],
            has_orders=any(selection.choice.campaign.order is not None for selection in payable),
        )
        self._check_revision(spent.revision, spent.database_time)
        paid: list[Selection] = []
        for index, selection in enumerate(payable):
            choice = selection.choice
            if reason := spent.refusals.get(index):
                self._refuse(choice.pending, choice.campaign.id, reason)
            else:
                choice.pay(selection.creative)
                paid.append(selection)
        _require_whole_pods(payable, paid)
        if paid:
            _number_slots(paid)
            await write_serve_records(self._connection, paid, spent.database_time)
        return paid

    async def _uncount(self, choices: list[Choice]) -> None:
        """Take back what the caps have counted beyond the ads that were paid for."""
        unpaid = [choice for choice in choices if choice.counted and choice.ads_paid < choice.ads_max]
        if not unpaid:
            return
        revision = await caps.give_back(
            self._connection,
            [_cap_count(choice) for choice in unpaid],
            [choice.ads_paid for choice in unpaid],
            [choice.paid_creative_ids for choice in unpaid],
            [
                caps.CapShortfall(position, counter, window, ads)
                for position, choice in enumerate(unpaid)
                for (counter, window), ads in choice.short_windows.items()
            ],
        )
        if revision != self._catalog.revision:
            raise StaleCatalogError

    async def _answer_overtaken(
        self, deciding: list[PendingRequest], choices: list[Choice], fetches: list[PendingFetch]
    ) -> list[PendingRequest]:
        """Look once more for earlier serves of requests that got no ad; return the requests without those it found.

        An earlier attempt may have been running when the request was admitted, and may have taken the last room. Its
        commit caused the refusal, so its serve is visible now and is the answer.
        """
        resolved = {choice.pending for choice in choices if choice.ads_paid}
        resolved |= {fetch.choice.pending for fetch in fetches}
        refused = [pending for pending in deciding if pending not in resolved]
        resolved.update(await self._admission.answer_repeats(refused))
        return [pending for pending in deciding if pending in resolved]

    def _served(self, paid: list[Selection]) -> list[tuple[PendingRequest, Served]]:
        """Return the requests that were paid for, each with its ads."""
        ads: dict[PendingRequest, list[ServedAd]] = {}
        for selection in paid:
            ads.setdefault(selection.choice.pending, []).append(selection.served_ad)
        served = []
        for pending, ads_of_request in ads.items():
            pending.keep_paid_ads(tuple(ads_of_request))
            served.append((pending, Served(pending.request_key, self._database_time, pending.progress.paid_ads)))
        return served

    def _render_during_commit(self) -> None:
        """Render the answers as soon as COMMIT is on its way, when the event loop would only wait for the disk.

        See ADR 9, "rendering during COMMIT" (docs/adr/0009-rendering-during-commit.md).
        """
        asyncio.get_running_loop().call_soon(_render, self._result, self._services.answers, self._catalog)

    def _sort_unserved(
        self, deciding: list[PendingRequest], choices: list[Choice], fetches: list[PendingFetch]
    ) -> None:
        """Sort the requests that were not served into those that await a fetch and those that are unresolved."""
        paid = {choice.pending for choice in choices if choice.ads_paid}
        awaiting_fetch = {fetch.choice.pending for fetch in fetches}
        for pending in deciding:
            if self._is_revision_confirmed:
                pending.confirm_revision()
            if pending not in paid and pending not in awaiting_fetch:
                self._result.unresolved.append(pending)
        for fetch in fetches:
            if fetch.choice.pending in paid:
                fetch.cancel()
            else:
                self._result.awaiting_fetch.setdefault(fetch.choice.pending, []).append(fetch)


def _render(result: GroupResult, answers: Answers, catalog: Catalog) -> None:
    """Render all answers of a group with the catalog that it was decided with. Must not raise.

    Rendered together, with code and templates in the processor's caches, an answer takes half the time that it takes
    between two requests.
    """
    for pending, served in result.served:
        try:
            served.vast = answers.vast(served, pending.request.vast_version, catalog)
        except Exception as error:  # noqa: BLE001 - the request fails with it
            served.render_error = error


def _select(choices: list[Choice], fetches: list[PendingFetch]) -> list[Selection]:
    """Return the Ads to pay for. Fetched ads can only be checked now; own creatives were filtered when chosen."""
    selections: list[Selection] = []
    for pending, grouped in groupby(choices, key=attrgetter("pending")):
        of_request = list(grouped)
        with_ad = [choice for choice in of_request if choice.has_ad and choice.ads_allowed]
        selected = select(with_ad) if with_ad else []
        if selected and pending.request.pod_size > 1 and is_too_short(selected):
            if all(fetch.choice.pending is not pending for fetch in fetches):
                refuse_too_short(of_request, selected)
        else:
            selections += selected
    return selections


def _require_whole_pods(payable: list[Selection], paid: list[Selection]) -> None:
    """Raise PodTooShortError if only a part of a pod is paid for, and that part has too few ads."""
    if len(paid) == len(payable):
        return
    counts = Counter(selection.choice.pending for selection in paid)
    for selection in payable:
        pending = selection.choice.pending
        if pending.request.min_ads > 1 and counts[pending] < pending.request.min_ads:
            raise PodTooShortError(pending)


def _number_slots(paid: list[Selection]) -> None:
    """Number the slots of each request without gaps, as the statement that paid for them has."""
    used: dict[PendingRequest, int] = {}
    for selection in paid:
        pending = selection.choice.pending
        selection.slot = used.get(pending, 0)
        used[pending] = selection.slot + 1


def _cap_count(choice: Choice) -> caps.CapIncrement:
    pending = choice.pending
    return caps.CapIncrement(
        choice.campaign.id,
        pending.progress.user_key,
        pending.request.session_id,
        choice.ads_max,
        [creative.id for creative in choice.creatives],
    )


def _payment(selection: Selection) -> spending.Payment:
    choice = selection.choice
    pending = choice.pending
    request = pending.request
    return spending.Payment(
        request_key=pending.request_key,
        slot=selection.slot,
        campaign_id=choice.campaign.id,
        creative_id=selection.creative.id if selection.creative else None,
        upstream_id=choice.fetched.upstream_id if choice.fetched else None,
        placement_id=request.placement_id,
        user_key=pending.progress.user_key,
        session_id=request.session_id,
        fingerprint=pending.fingerprint,
        long_hold=request.stitched or request.pod_size > 1,
        country=pending.viewer.country,
        region=pending.viewer.region,
        device_type=pending.viewer.device_type,
    )
