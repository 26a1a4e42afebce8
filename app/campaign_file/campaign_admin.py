"""The service behind the admin API: the campaign file's rules, applied to one item at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.campaign_file.apply import ApplyResult, apply, apply_in_transaction
from app.campaign_file.exporter import to_entry, to_public_entry
from app.campaign_file.models import TABLES
from app.campaign_file.parser import Draft, read_draft
from app.campaign_file.validate import CatalogIndex
from app.domain import Campaign, CampaignStatus, CatalogItem, CatalogSource, Creative, CreativeStatus
from app.errors import FileFault, InvalidFile, NotFound
from app.store import budget_changes, budget_periods, catalog_reader, catalog_writer
from app.store.budget_periods import BudgetStatus
from app.store.connections import Store
from app.store.setup_history import ChangeOrigin
from app.upstreams.addresses import Network

UNLOGGED_KEYS = frozenset({"tag_url", "url", "secret"})
"""Keys whose values may contain credentials and are not logged."""

REQUEST = "request"
"""The draft's file name in faults."""

SOURCE = "admin API"
"""The source of changes in the history."""


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries in id order."""

    entries: list[dict[str, Any]]
    next_after: str | None
    """The id after which the next page starts; None on the last page."""


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """An entry after a change."""

    entry: dict[str, Any]
    created: bool
    notes: tuple[str, ...]
    """Warnings for the caller."""
    changes: Mapping[str, object]
    """The former and the new value of each changed key."""


@dataclass(frozen=True, slots=True)
class CampaignSpending:
    """A campaign's spend in its current budget periods, longest first; `total` is set only if it has no budget."""

    campaign: Campaign
    periods: list[BudgetStatus]
    total: budget_changes.CampaignTotal | None


class CampaignAdminService:
    """Lists, reads and changes items; `kind` is the name of a list of the campaign file, such as `campaigns`."""

    def __init__(self, store: Store, catalogs: CatalogSource, webhook_networks: Sequence[Network] = ()) -> None:
        self._store = store
        self._webhook_networks = webhook_networks
        self._catalogs = catalogs

    async def page(self, kind: str, after: str, limit: int) -> EntryPage:
        """Return at most `limit` entries whose ids come after `after`."""
        items = (await self._index()).items[TABLES[kind].item_type]
        ids = sorted(item_id for item_id in items if item_id > after)
        entries = [to_public_entry(items[item_id]) for item_id in ids[:limit]]
        return EntryPage(entries, ids[limit - 1] if len(ids) > limit else None)

    async def get(self, kind: str, item_id: str) -> dict[str, Any]:
        """Return one entry. Raises NotFound."""
        return to_public_entry(await self._item(kind, item_id))

    async def _item(self, kind: str, item_id: str) -> CatalogItem:
        item_type = TABLES[kind].item_type
        item = (await self._index()).item(item_type, item_id)
        if item is None:
            raise NotFound(f"unknown {item_type.__name__.lower()} id")
        return item

    async def put(self, kind: str, item_id: str, body: Mapping[str, object], author: str) -> ChangeResult:
        """Create or replace an item for this author. Raises InvalidFile; its faults have the keys of the body."""
        if body.get("id", item_id) != item_id:
            raise InvalidFile(REQUEST, [FileFault("id", "must be the id in the URL or left out")])
        draft = read_draft(REQUEST, {kind: [{**body, "id": item_id}]})
        try:
            result = await apply(
                self._store,
                draft,
                self._catalogs.current,
                origin=ChangeOrigin(SOURCE, author),
                webhook_networks=self._webhook_networks,
            )
        except InvalidFile as error:
            raise _without_location(error, f"{kind}[0]") from None
        return await self._change_result(kind, item_id, result)

    async def set_status(self, kind: str, item_id: str, status: str, author: str) -> ChangeResult:
        """Change the status of a campaign or a creative alone, with the other keys as they are in the database.

        Raises NotFound, or InvalidFile for a forbidden transition.
        """
        async with self._store.transaction() as connection:
            await catalog_writer.lock_catalog(connection)
            cached = self._catalogs.current
            item = CatalogIndex.from_catalog(cached).item(TABLES[kind].item_type, item_id)
            current = await catalog_reader.read(
                connection, cached, catalog_writer.ids_by_kind([] if item is None else [item])
            )
            item = CatalogIndex.from_catalog(current).item(TABLES[kind].item_type, item_id)
            if not isinstance(item, (Campaign, Creative)):
                raise NotFound(f"unknown {TABLES[kind].item_type.__name__.lower()} id")
            changed = _with_status(item, status)
            draft = Draft(REQUEST, (changed,), {(type(item), item_id): f"{kind}[0]"}, ())
            try:
                result = await apply_in_transaction(connection, draft, current, origin=ChangeOrigin(SOURCE, author))
            except InvalidFile as error:
                raise _without_location(error, f"{kind}[0]") from None
        return await self._change_result(kind, item_id, result)

    async def _change_result(self, kind: str, item_id: str, result: ApplyResult) -> ChangeResult:
        name = f"{TABLES[kind].item_type.__name__.lower()} {item_id}"
        after = await self._item(kind, item_id)
        created = name in result.created
        before = result.before.get(name)
        changes: dict[str, object] = {}
        if before is not None or created:
            changes = _changes({} if before is None else to_entry(before), to_entry(after))
        return ChangeResult(to_public_entry(after), created, result.notes, changes)

    async def spending(self, campaign_id: str) -> CampaignSpending:
        """Return what the campaign has spent and may still spend. Raises NotFound."""
        # Done before taking a connection: a request that holds one connection and waits for a second can deadlock.
        campaign = (await self._index()).campaign(campaign_id)
        if campaign is None:
            raise NotFound("unknown campaign id")
        async with self._store.connection() as connection:
            periods = await budget_periods.read_current_budgets(connection, campaign_id)
            total = None if periods else await budget_changes.read_campaign_total(connection, campaign_id)
        return CampaignSpending(campaign, periods, total)

    async def _index(self) -> CatalogIndex:
        """Return the database's current catalog, including changes made by other servers."""
        await self._catalogs.reload(self._catalogs.current)
        return CatalogIndex.from_catalog(self._catalogs.current)


def _with_status(item: Campaign | Creative, status: str) -> Campaign | Creative:
    if isinstance(item, Campaign):
        return replace(item, status=CampaignStatus(status))
    return replace(item, status=CreativeStatus(status))


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the keys that differ with both values, or with "changed" where the values must not be logged."""
    return {
        key: "changed" if key in UNLOGGED_KEYS else [before.get(key), after.get(key)]
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def _without_location(error: InvalidFile, location: str) -> InvalidFile:
    """Return the same faults with keys relative to the entry at this location."""
    return InvalidFile(
        REQUEST, [FileFault(fault.key.removeprefix(f"{location}."), fault.reason) for fault in error.faults]
    )
