"""Applying a draft to the database: atomic, and idempotent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from asyncpg import Connection, Record

from app.campaign_file.exporter import format_amount
from app.campaign_file.parser import Draft
from app.campaign_file.validate import CatalogIndex, find_faults, missing_advertisers, missing_publishers
from app.domain import Budget, Campaign, CampaignStatus, Catalog, CatalogItem, Creative, Order, Upstream, Webhook
from app.errors import FileFault, InvalidFile
from app.store import budget_changes, budget_periods, catalog_reader, catalog_writer, outbox, setup_history
from app.store.budget_changes import OverspentLimit
from app.store.connections import Store
from app.store.setup_history import ChangeOrigin
from app.upstreams.addresses import Network
from app.vast.unknown_macros import unknown_macros

UNLIMITED_NOTE = (
    "its budgets do not limit it, because its ads cost nothing; "
    "limit {unit} instead, for example with {{ {unit} = 1000 }}"
)


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The changes that applying a draft made."""

    revision: int
    created: tuple[str, ...]
    """Type and id of each created item: `campaign spring`."""
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    notes: tuple[str, ...]
    """Warnings for the person who applied the draft."""
    before: Mapping[str, CatalogItem]
    """The former versions of the updated items, by their names in `updated`."""


async def apply(
    store: Store,
    draft: Draft,
    cached: Catalog | None = None,
    *,
    origin: ChangeOrigin | None = None,
    webhook_networks: Sequence[Network] = (),
) -> ApplyResult:
    """Create or replace, in one transaction, the items of the draft; leave every other item unchanged.

    Applying the same draft again changes nothing, not even the catalog's revision. A `cached` catalog, even an old
    one, saves reading the whole catalog again. The history shows `origin`, by default the draft's file. Webhooks may
    lead to `webhook_networks` beside public addresses. Raises InvalidFile with every fault of the draft, or
    StoreUnavailable; the database is then unchanged.
    """
    async with store.transaction() as connection:
        return await apply_in_transaction(connection, draft, cached, origin=origin, webhook_networks=webhook_networks)


async def apply_in_transaction(
    connection: "Connection[Record]",
    draft: Draft,
    cached: Catalog | None = None,
    *,
    origin: ChangeOrigin | None = None,
    webhook_networks: Sequence[Network] = (),
) -> ApplyResult:
    """Do what `apply` does in a transaction that the caller commits."""
    await catalog_writer.lock_catalog(connection)
    before = await catalog_reader.read(connection, cached, catalog_writer.ids_by_kind(draft.items))
    index = CatalogIndex.from_catalog(before)
    faults = find_faults(draft, index, webhook_networks)
    if faults:
        raise InvalidFile(draft.file, faults)
    items = [_with_current_values(item, index) for item in draft.items]
    created, updated, unchanged = _diff(
        [*missing_publishers(draft, index), *missing_advertisers(draft, index), *items], index
    )
    notes = [
        *_unknown_macro_notes(draft.items),
        *_unlimited_notes(draft.items),
        *_missed_flight_notes(draft.items, index.with_draft(draft)),
    ]
    revision = before.revision
    if created or updated:
        changed = [*created, *updated]
        await setup_history.mark_changes(connection, origin or ChangeOrigin(f"file {draft.file}"))
        notes += await _CatalogChange(connection, draft, index).write(changed)
        revision = await catalog_writer.bump_revision(connection, changed)
    return ApplyResult(
        revision=revision,
        created=_names(created),
        updated=_names(updated),
        unchanged=_names(unchanged),
        notes=tuple(notes),
        before=_former_versions(updated, index),
    )


def _with_current_values(item: CatalogItem, index: CatalogIndex) -> CatalogItem:
    """Return the item with the current value of a key that its draft may leave out to keep it.

    These are the keys `direct` of a campaign and `secret` of a webhook.
    """
    before = index.item(type(item), item.id)
    if isinstance(item, Campaign) and item.direct is None:
        return replace(item, direct=isinstance(before, Campaign) and before.direct)
    if isinstance(item, Webhook) and item.secret is None and isinstance(before, Webhook):
        return replace(item, secret=before.secret)
    return item


def _diff(
    items: list[CatalogItem], index: CatalogIndex
) -> tuple[list[CatalogItem], list[CatalogItem], list[CatalogItem]]:
    """Split the items into those to create, those to update, and those that are already the same."""
    created: list[CatalogItem] = []
    updated: list[CatalogItem] = []
    unchanged: list[CatalogItem] = []
    for item in items:
        before = index.item(type(item), item.id)
        (created if before is None else unchanged if before == item else updated).append(item)
    return created, updated, unchanged


def _former_versions(updated: list[CatalogItem], index: CatalogIndex) -> dict[str, CatalogItem]:
    former = (index.item(type(item), item.id) for item in updated)
    return {name: item for name, item in zip(_names(updated), former, strict=True) if item is not None}


def _names(items: list[CatalogItem]) -> tuple[str, ...]:
    return tuple(f"{type(item).__name__.lower()} {item.id}" for item in items)


def _unknown_macro_notes(items: Iterable[CatalogItem]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Upstream):
            for macro, replacement in unknown_macros(item.tag_url):
                hint = f"; use {replacement}" if replacement else ""
                yield f"upstream {item.id}: tag_url: unknown macro {macro} is sent unchanged{hint}"


def _unlimited_notes(items: Iterable[CatalogItem]) -> Iterator[str]:
    """Yield a note for each campaign with a price of 0 whose budgets limit only money."""
    for item in items:
        if (
            isinstance(item, Campaign)
            and item.price.amount == 0
            and item.budgets
            and _limit_only_money(item.budgets.values())
        ):
            yield f"campaign {item.id}: {UNLIMITED_NOTE.format(unit=item.price.model.counted_unit)}"


def _limit_only_money(limits: Iterable[Budget]) -> bool:
    """Whether every budget has an amount above 0 and no limit on impressions."""
    return all(budget.amount and budget.impressions is None for budget in limits)


def _missed_flight_notes(items: Iterable[CatalogItem], index: CatalogIndex) -> Iterator[str]:
    """Yield a note for each active creative whose own time is before or after the flight of its campaign."""
    for item in items:
        if isinstance(item, Creative) and item.status == ACTIVE and (campaign := index.campaign(item.campaign_id)):
            ends_before = item.ends_at is not None and item.ends_at <= campaign.starts_at
            starts_after = item.starts_at is not None and item.starts_at >= campaign.ends_at
            if ends_before or starts_after:
                when = "ends before" if ends_before else "starts after"
                yield f"creative {item.id}: is never served, because it {when} the flight of campaign {campaign.id}"


def _overspent_notes(overspent: OverspentLimit, unit: str) -> Iterator[str]:
    owner = f"campaign {overspent.campaign_id}" if overspent.order_id is None else f"order {overspent.order_id}"
    name = f"{owner}: the new {overspent.period} budget of"
    wanted, used = overspent.wanted, overspent.used
    if wanted.amount is not None and used.amount is not None and wanted.amount < used.amount:
        yield (
            f"{name} {format_amount(wanted.amount)} is below the {format_amount(used.amount)} already spent and held; "
            "nothing more is served until this budget has room"
        )
    if wanted.impressions is not None and used.impressions is not None and wanted.impressions < used.impressions:
        yield (
            f"{name} {wanted.impressions} {unit} is below the {used.impressions} already "
            f"{'served' if unit == 'impressions' else 'charged and held'}; "
            "nothing more is served until this budget has room"
        )


def _ended(pairs: Iterable[tuple[Campaign, Campaign]]) -> list[str]:
    """Return the ids of the campaigns that the change ends."""
    ended = CampaignStatus.ENDED
    return sorted(after.id for before, after in pairs if after.status is ended and before.status is not ended)


ACTIVE = "active"
"""The status of campaigns and creatives that are served."""


class _CatalogChange:
    """One change of the catalog, within its transaction."""

    def __init__(self, connection: "Connection[Record]", draft: Draft, index: CatalogIndex) -> None:
        self._connection = connection
        self._draft = draft
        self._index = index

    async def write(self, items: list[CatalogItem]) -> list[str]:
        """Write the items and return notes about budgets that are already exceeded."""
        campaigns = [item for item in items if isinstance(item, Campaign)]
        before = {
            campaign.id: former for campaign in campaigns if (former := self._index.campaign(campaign.id)) is not None
        }
        pairs = [(before[campaign.id], campaign) for campaign in campaigns if campaign.id in before]
        await self._forbid_unknown_timezones(campaigns)
        await self._forbid_changes_of_served_campaigns(pairs)
        orders = [item for item in items if isinstance(item, Order)]
        await self._forbid_changes_of_used_orders(orders)
        await catalog_writer.upsert(self._connection, items)
        # A campaign that joins an order gets its budget too, which a running transaction may not have locked.
        rebudgeted = sorted(
            after.id
            for former, after in pairs
            if (former.budgets.keys(), former.order) != (after.budgets.keys(), after.order)
        )
        rebudgeted += [budget_changes.order_budget_id(order.id) for order in orders if self._limit_comes_or_goes(order)]
        if rebudgeted:
            await budget_changes.rebuild_counters(self._connection, rebudgeted)
        await budget_periods.open_periods(self._connection, sorted(campaign.id for campaign in campaigns))
        await budget_periods.open_order_budgets(self._connection, sorted(order.id for order in orders))
        changed = [*sorted(before), *(budget_changes.order_budget_id(order.id) for order in orders)]
        overspent = await budget_changes.apply_new_limits(self._connection, changed)
        self._forbid_spent_prepaid_orders(orders, overspent)
        await outbox.record_ended_campaigns(self._connection, _ended(pairs))
        if self._takes_down(items):
            # Wait for ads that are being paid for, so that none is served after the commit.
            await budget_changes.lock_out_spending(self._connection)
        overspent = sorted(overspent, key=lambda limit: (limit.campaign_id or "", limit.order_id or "", limit.period))
        units = {campaign.id: campaign.price.model.counted_unit for campaign in campaigns}
        return [
            note
            for limit in overspent
            for note in _overspent_notes(limit, units.get(limit.campaign_id or "", "impressions"))
        ]

    def _takes_down(self, items: list[CatalogItem]) -> bool:
        """Return whether a campaign or a creative that was active is not active any more."""
        return any(
            before.status == ACTIVE and item.status != ACTIVE
            for item in items
            if isinstance(item, (Campaign, Creative))
            and isinstance(before := self._index.item(type(item), item.id), (Campaign, Creative))
        )

    def _limit_comes_or_goes(self, order: Order) -> bool:
        before = self._index.order(order.id)
        return before is not None and before.has_limit != order.has_limit

    async def _forbid_changes_of_used_orders(self, orders: list[Order]) -> None:
        """Raise InvalidFile if an order that was credited or charged gets another advertiser or currency."""
        changes = [
            (order, key, getattr(before, key))
            for order in orders
            if (before := self._index.order(order.id)) is not None
            for key in ("advertiser", "currency")
            if getattr(before, key) != getattr(order, key)
        ]
        if not changes:
            return
        await budget_changes.lock_out_spending(self._connection)
        used = await budget_changes.find_used_orders(self._connection, [order.id for order, _, _ in changes])
        self._raise_faults(
            (order, key, f"must stay {former!r}, because the order was credited or charged")
            for order, key, former in changes
            if order.id in used
        )

    def _forbid_spent_prepaid_orders(self, orders: list[Order], overspent: list[OverspentLimit]) -> None:
        """Raise InvalidFile if an order becomes prepaid of which more is spent and held than it may spend then."""
        became_prepaid = {
            order.id: order
            for order in orders
            if order.prepaid and (before := self._index.order(order.id)) is not None and not before.prepaid
        }
        self._raise_faults(
            (
                became_prepaid[limit.order_id],
                "prepaid",
                f"must stay false, because {format_amount(used)} of the order is spent and held, "
                f"and only {format_amount(wanted)} may be",
            )
            for limit in overspent
            if limit.order_id in became_prepaid
            and (used := limit.used.amount) is not None
            and (wanted := limit.wanted.amount) is not None
            and used > wanted
        )

    async def _forbid_unknown_timezones(self, campaigns: list[Campaign]) -> None:
        """Raise InvalidFile for a timezone that Python knows and Postgres does not: each has its own database."""
        unknown = await catalog_writer.find_unknown_timezones(
            self._connection, {campaign.timezone for campaign in campaigns}
        )
        self._raise_faults(
            (campaign, "timezone", "is not known to the database")
            for campaign in campaigns
            if campaign.timezone in unknown
        )

    async def _forbid_changes_of_served_campaigns(self, pairs: list[tuple[Campaign, Campaign]]) -> None:
        """Raise InvalidFile if a campaign that has served ads gets another currency, timezone or kind of price.

        Its ledger entries are in the currency, its budgets and caps count days of the timezone, and its budgets count
        what the price is for.
        """
        changes = [
            (after, key, former)
            for before, after in pairs
            for key, former, new in (
                ("currency", before.currency, after.currency),
                ("timezone", before.timezone, after.timezone),
                ("price", before.price.model, after.price.model),
            )
            if former != new
        ]
        if not changes:
            return
        ids = sorted({after.id for after, _, _ in changes})
        served = await budget_changes.find_served_campaigns(self._connection, ids)
        if not served:
            await budget_changes.lock_out_spending(self._connection)
            served = await budget_changes.find_served_campaigns(self._connection, ids)
        self._raise_faults(
            (after, key, f"must stay '{former}', because the campaign has served ads")
            for after, key, former in changes
            if after.id in served
        )

    def _raise_faults(self, faults: Iterable[tuple[CatalogItem, str, str]]) -> None:
        """Raise InvalidFile if there are faults: each an item, the key at fault and the reason."""
        locations = self._draft.locations
        found = [FileFault(f"{locations[type(item), item.id]}.{key}", reason) for item, key, reason in faults]
        if found:
            raise InvalidFile(self._draft.file, found)
