"""What ad operations set up, thing by thing: the campaign file's rules for one entry at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.campaign_file.apply import Applied, apply, apply_in
from app.campaign_file.exporter import entry
from app.campaign_file.models import TABLES
from app.campaign_file.parser import Draft, read_draft
from app.campaign_file.validate import Known
from app.domain import Campaign, CampaignStatus, Catalog
from app.errors import FileFault, InvalidFile, NotFound
from app.store import budget_changes, budgets, catalog, catalog_writes
from app.store.budgets import BudgetStatus
from app.store.connections import Store

UNNAMED = frozenset({"tag_url"})
"""Keys whose values are not logged."""

REQUEST = "request"
"""Stands for the file's name in faults."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in the order of their ids, and the id to go on after; None at the end."""

    entries: list[dict[str, Any]]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """An entry as it is after a change, and what the caller should know of it."""

    entry: dict[str, Any]
    created: bool
    notes: tuple[str, ...]
    changes: Mapping[str, object]
    """By key: what it was, and what it is."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a campaign has spent: its running budget periods, the longest first, and without any, all there is."""

    campaign: Campaign
    periods: list[BudgetStatus]
    total: budget_changes.Total | None


class CatalogSource(Protocol):
    """Holds the current catalog of this worker."""

    current: Catalog

    async def reload(self, seen: Catalog) -> None:
        """Replaces the catalog `seen` if the database has a newer one."""


class SetupDesk:
    """Lists, shows and changes things; `kind` is the name of one of the campaign file's lists."""

    def __init__(self, store: Store, catalogs: CatalogSource) -> None:
        self._store = store
        self._catalogs = catalogs

    async def page(self, kind: str, after: str, limit: int) -> Page:
        """At most `limit` entries whose id comes after `after`."""
        things = (await self._known()).things[TABLES[kind].kind]
        ids = sorted(thing_id for thing_id in things if thing_id > after)
        entries = [entry(things[thing_id]) for thing_id in ids[:limit]]
        return Page(entries, ids[limit - 1] if len(ids) > limit else None)

    async def get(self, kind: str, thing_id: str) -> dict[str, Any]:
        """One entry; raises NotFound."""
        table = TABLES[kind].kind
        thing = (await self._known()).thing(table, thing_id)
        if thing is None:
            raise NotFound(f"there is no {table.__name__.lower()} with this id")
        return entry(thing)

    async def put(self, kind: str, thing_id: str, body: Mapping[str, object]) -> Changed:
        """Creates or replaces a thing; raises InvalidFile, whose faults have the body's keys."""
        if body.get("id", thing_id) != thing_id:
            raise InvalidFile(REQUEST, [FileFault("id", "must be the id in the URL, or left out")])
        draft = read_draft(REQUEST, {kind: [{**body, "id": thing_id}]})
        try:
            applied = await apply(self._store, draft, self._catalogs.current)
        except InvalidFile as error:
            raise _without_place(error, f"{kind}[0]") from None
        return await self._changed(kind, thing_id, applied)

    async def set_status(self, campaign_id: str, status: CampaignStatus) -> Changed:
        """Pauses, resumes or ends a campaign; raises NotFound, and InvalidFile for a step that is not allowed."""
        async with self._store.transaction() as connection:
            await catalog_writes.lock(connection)
            copy = self._catalogs.current
            of_copy = [copy.campaigns[campaign_id]] if campaign_id in copy.campaigns else []
            known = await catalog.read(connection, copy, catalog_writes.ids_of(of_copy))
            campaign = known.campaigns.get(campaign_id)
            if campaign is None:
                raise NotFound("there is no campaign with this id")
            changed = replace(campaign, status=status)
            draft = Draft(REQUEST, (changed,), {(Campaign, campaign_id): "campaigns[0]"}, ())
            try:
                applied = await apply_in(connection, draft, known)
            except InvalidFile as error:
                raise _without_place(error, "campaigns[0]") from None
        return await self._changed("campaigns", campaign_id, applied)

    async def _changed(self, kind: str, thing_id: str, applied: Applied) -> Changed:
        name = f"{TABLES[kind].kind.__name__.lower()} {thing_id}"
        after = await self.get(kind, thing_id)
        created = name in applied.created
        was = applied.before.get(name)
        changes = {} if was is None and not created else _changes({} if was is None else entry(was), after)
        return Changed(after, created, applied.notes, changes)

    async def spending(self, campaign_id: str) -> Spending:
        """What the campaign has spent and may spend now; raises NotFound."""
        # Before a connection is held: who asks for a second one may wait for somebody who does the same.
        campaign = (await self._known()).campaign(campaign_id)
        if campaign is None:
            raise NotFound("there is no campaign with this id")
        async with self._store.connection() as connection:
            periods = await budgets.current_budgets(connection, campaign_id)
            total = None if periods else await budget_changes.total(connection, campaign_id)
        return Spending(campaign, periods, total)

    async def _known(self) -> Known:
        """Everything as the database has it now, whichever server changed it."""
        await self._catalogs.reload(self._catalogs.current)
        return Known.of(self._catalogs.current)


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """The keys that differ; a tag URL may hold credentials, so that its own values stay out."""
    return {
        key: "changed" if key in UNNAMED else [before.get(key), after.get(key)]
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def _without_place(error: InvalidFile, place: str) -> InvalidFile:
    """The same faults with the keys of the entry alone."""
    return InvalidFile(
        REQUEST, [FileFault(fault.key.removeprefix(f"{place}."), fault.reason) for fault in error.faults]
    )
