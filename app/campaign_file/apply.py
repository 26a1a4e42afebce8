"""Applying a draft: all of it or nothing, and nothing when there is nothing new."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from asyncpg import Connection, Record

from app.campaign_file.exporter import money
from app.campaign_file.parser import Draft
from app.campaign_file.validate import Known, faults, missing_publishers
from app.domain import Budget, Campaign, Catalog, Upstream
from app.errors import FileFault, InvalidFile
from app.store import budget_changes, budgets, catalog, catalog_writes, counters
from app.store.budget_changes import Overdrawn
from app.store.catalog_writes import Thing
from app.store.connections import Store
from app.vast.unknown_macros import unknown_macros

UNBOUND = (
    "its budgets do not limit it, because its ads cost nothing; a budget in impressions, such as "
    "{ impressions = 1000 }, would"
)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a draft did."""

    revision: int
    created: tuple[str, ...]
    """Kind and id: `campaign spring`."""
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    notes: tuple[str, ...]
    """What the person who applied it should know."""
    before: Mapping[str, Thing]
    """What the updated ones were."""


async def apply(store: Store, draft: Draft, copy: Catalog | None = None) -> Applied:
    """Creates or replaces, in one transaction, what the draft names; everything else stays as it is.

    Applying the same draft again changes nothing, not even the catalog's revision. With a copy of the catalog, even an
    old one, not all of it is read again. Raises InvalidFile with every fault, and StoreUnavailable; then nothing was
    changed.
    """
    async with store.transaction() as connection:
        return await apply_in(connection, draft, copy)


async def apply_in(connection: "Connection[Record]", draft: Draft, copy: Catalog | None = None) -> Applied:
    """As `apply`, in a transaction that the caller commits."""
    await catalog_writes.lock(connection)
    before = await catalog.read(connection, copy, catalog_writes.ids_of(draft.things))
    known = Known.of(before)
    wrong = faults(draft, known)
    if wrong:
        raise InvalidFile(draft.file, wrong)
    things = [_complete(thing, known) for thing in draft.things]
    created, updated, unchanged = _sorted_out([*missing_publishers(draft, known), *things], known)
    notes = [*_unfilled(draft.things), *_unbound(draft.things)]
    revision = before.revision
    if created or updated:
        changed = [*created, *updated]
        notes += await _Change(connection, draft, known).make(changed)
        revision = await catalog_writes.bump(connection, changed)
    return Applied(revision, _names(created), _names(updated), _names(unchanged), tuple(notes), _before(updated, known))


def _complete(thing: Thing, known: Known) -> Thing:
    """The thing with what its draft leaves as it is: a campaign becomes or stops being direct only by its own word."""
    if not isinstance(thing, Campaign) or thing.direct is not None:
        return thing
    before = known.campaign(thing.id)
    return replace(thing, direct=before is not None and before.direct)


def _sorted_out(things: list[Thing], known: Known) -> tuple[list[Thing], list[Thing], list[Thing]]:
    """What is to be created, what to be updated, and what is there already just so."""
    created: list[Thing] = []
    updated: list[Thing] = []
    unchanged: list[Thing] = []
    for thing in things:
        before = known.thing(type(thing), thing.id)
        (created if before is None else unchanged if before == thing else updated).append(thing)
    return created, updated, unchanged


def _before(updated: list[Thing], known: Known) -> dict[str, Thing]:
    were = (known.thing(type(thing), thing.id) for thing in updated)
    return {name: was for name, was in zip(_names(updated), were, strict=True) if was is not None}


def _names(things: list[Thing]) -> tuple[str, ...]:
    return tuple(f"{type(thing).__name__.lower()} {thing.id}" for thing in things)


def _unfilled(things: Iterable[Thing]) -> Iterator[str]:
    """A note for each macro in a tag URL that nothing fills in."""
    for thing in things:
        if isinstance(thing, Upstream):
            for macro, instead in unknown_macros(thing.tag_url):
                hint = f"; use {instead}" if instead else ""
                yield f"upstream {thing.id}: tag_url: {macro} is not a known macro and is sent as it is{hint}"


def _overdrawn(found: Overdrawn) -> Iterator[str]:
    name = f"campaign {found.campaign_id}: its {found.period} budget of"
    wanted, used = found.wanted, found.used
    if wanted.amount is not None and used.amount is not None and wanted.amount < used.amount:
        yield (
            f"{name} {money(wanted.amount)} is below the {money(used.amount)} that is spent and held already; "
            "it stops there"
        )
    if wanted.impressions is not None and used.impressions is not None and wanted.impressions < used.impressions:
        yield (
            f"{name} {wanted.impressions} impressions is below the {used.impressions} that were served already; "
            "it stops there"
        )


def _unbound(things: Iterable[Thing]) -> Iterator[str]:
    """A note for each campaign that costs nothing and is limited in nothing but money, of which there is some."""
    for thing in things:
        if isinstance(thing, Campaign) and thing.cpm == 0 and thing.budgets and _is_money_alone(thing.budgets.values()):
            yield f"campaign {thing.id}: {UNBOUND}"


def _is_money_alone(limits: Iterable[Budget]) -> bool:
    return all(budget.amount and budget.impressions is None for budget in limits)


class _Change:
    """One change of the catalog, inside its transaction."""

    def __init__(self, connection: "Connection[Record]", draft: Draft, known: Known) -> None:
        self._connection = connection
        self._draft = draft
        self._known = known

    async def make(self, things: list[Thing]) -> list[str]:
        """Writes the things; returns what should be noted."""
        campaigns = [thing for thing in things if isinstance(thing, Campaign)]
        before = {of.id: known for of in campaigns if (known := self._known.campaign(of.id))}
        await self._refuse_unknown_timezones(campaigns)
        await self._refuse_new_reckoning([(before[of.id], of) for of in campaigns if of.id in before])
        await catalog_writes.put(self._connection, things)
        rebudgeted = [
            of.id for of in campaigns if of.id in before and before[of.id].budgets.keys() != of.budgets.keys()
        ]
        if rebudgeted:
            await counters.recount(self._connection, sorted(rebudgeted))
        overdrawn = await budget_changes.follow(self._connection, sorted(before))
        await budgets.open_periods(self._connection, sorted(of.id for of in campaigns))
        return [note for of in sorted(overdrawn, key=lambda of: (of.campaign_id, of.period)) for note in _overdrawn(of)]

    async def _refuse_unknown_timezones(self, campaigns: list[Campaign]) -> None:
        """Python and Postgres each have their own copy of the database of timezones."""
        unknown = await catalog_writes.unknown_timezones(self._connection, {of.timezone for of in campaigns})
        self._refuse((of, "timezone", "is not known to the database") for of in campaigns if of.timezone in unknown)

    async def _refuse_new_reckoning(self, pairs: list[tuple[Campaign, Campaign]]) -> None:
        """Once it has served, a campaign is booked in its currency and counted in its own days."""
        moved = [
            (now, key, getattr(before, key))
            for before, now in pairs
            for key in ("currency", "timezone")
            if getattr(before, key) != getattr(now, key)
        ]
        if not moved:
            return
        ids = sorted({now.id for now, _, _ in moved})
        served = await budget_changes.has_served(self._connection, ids)
        if not served:
            await budget_changes.fence(self._connection)
            served = await budget_changes.has_served(self._connection, ids)
        self._refuse(
            (now, key, f"must stay {was}: ads were served in it") for now, key, was in moved if now.id in served
        )

    def _refuse(self, wrong: Iterable[tuple[Thing, str, str]]) -> None:
        """Raises InvalidFile if anything is wrong with a key of a thing."""
        places = self._draft.places
        found = [FileFault(f"{places[type(thing), thing.id]}.{key}", reason) for thing, key, reason in wrong]
        if found:
            raise InvalidFile(self._draft.file, found)
