"""Export of the catalog as a campaign file; applying the exported file changes nothing."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import tomli_w

from app.domain import Advertiser, Campaign, CapLevel, Catalog, CatalogItem, Creative, PriceModel, Publisher

DECIMALS_MIN = 2
"""Decimals of an exported amount, at least."""

SECRET_KEYS = frozenset({"secret"})
"""Keys of an item that only a campaign file has: the admin API and logs show no secrets."""


def to_toml(catalog: Catalog) -> str:
    """Return the whole catalog as TOML, in id order."""
    lists: dict[str, Iterable[CatalogItem]] = {
        "publishers": catalog.publishers.values(),
        "advertisers": catalog.advertisers.values(),
        "orders": catalog.orders.values(),
        "upstreams": catalog.upstreams.values(),
        "campaigns": catalog.campaigns.values(),
        "creatives": sorted(
            (creative for creatives in catalog.creatives.values() for creative in creatives),
            key=lambda creative: creative.id,
        ),
        "placements": catalog.placements.values(),
        "webhooks": catalog.webhooks.values(),
    }
    return tomli_w.dumps({name: [to_entry(item) for item in items] for name, items in lists.items() if items})


def to_public_entry(item: CatalogItem) -> dict[str, Any]:
    """Return an item as `to_entry` does, without its secrets."""
    return {key: value for key, value in to_entry(item).items() if key not in SECRET_KEYS}


def to_entry(item: CatalogItem) -> dict[str, Any]:
    """Return an item as an entry of a campaign file, with money as text.

    Keys without a value are left out, and so is a name that equals the id, which is its default.
    """
    entry: dict[str, Any] = _to_plain(asdict(item))
    if isinstance(item, Campaign):
        _shorten_campaign(entry, item)
    if isinstance(item, Creative):
        entry["duration_s"] = _to_number(item.duration_s)
        entry.pop("elements", None)
        entry |= item.elements.to_table()
    if isinstance(item, (Advertiser, Publisher)) and item.name == item.id:
        del entry["name"]
    return entry


def _shorten_campaign(entry: dict[str, Any], campaign: Campaign) -> None:
    """Write the price, the targeting, the budgets and the caps of a campaign in their short forms."""
    entry["price"] = {campaign.price.model.value: format_amount(campaign.price.amount)}
    if campaign.price.model is PriceModel.CPM:
        entry |= entry.pop("price")
    entry["targeting"] = _to_plain(campaign.targeting.to_table())
    if not entry["targeting"]:
        del entry["targeting"]
    for period, budget in entry.get("budgets", {}).items():
        if "impressions" in budget:
            budget[campaign.price.model.counted_unit] = budget.pop("impressions")
        if budget.keys() == {"amount"}:
            entry["budgets"][period] = budget["amount"]
    for cap in entry.get("frequency_caps", []):
        if cap["level"] == CapLevel.CAMPAIGN:
            del cap["level"]


def _to_plain(value: Any) -> Any:
    """Return the value in types that TOML and JSON have, without empty keys."""
    match value:
        case dict():
            plain = {str(key): _to_plain(inner) for key, inner in value.items() if inner is not None}
            return {key: inner for key, inner in plain.items() if inner not in ({}, [])}
        case list() | tuple():
            return [_to_plain(inner) for inner in value]
        case Decimal():
            return format_amount(value)
        case datetime():
            return value.astimezone(UTC)
        case str():
            return str(value)
        case _:
            return value


def _to_number(seconds: Decimal) -> int | float:
    """Return a number that is written with the same decimals, which are few."""
    return int(seconds) if seconds == int(seconds) else float(seconds)


def format_amount(amount: Decimal) -> str:
    """Return the exact amount with at least two decimals: `2500.00`, `0.125`."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(DECIMALS_MIN, '0')}"
