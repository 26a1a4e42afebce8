"""Writing the catalog as a campaign file, which changes nothing when it is applied."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import tomli_w

from app.domain import Campaign, Catalog
from app.store.catalog_writes import Thing

DECIMALS_SHOWN = 2
"""Money is written with no fewer."""


def toml(catalog: Catalog) -> str:
    """The whole catalog as TOML, in the order of ids."""
    lists: dict[str, Iterable[Thing]] = {
        "publishers": catalog.publishers.values(),
        "upstreams": catalog.upstreams.values(),
        "campaigns": catalog.campaigns.values(),
        "creatives": sorted(
            (creative for of_campaign in catalog.creatives.values() for creative in of_campaign),
            key=lambda creative: creative.id,
        ),
        "placements": catalog.placements.values(),
    }
    return tomli_w.dumps({name: [entry(thing) for thing in things] for name, things in lists.items() if things})


def entry(thing: Thing) -> dict[str, Any]:
    """A thing as a campaign file has it: without keys that have no value, and with money as text."""
    written: dict[str, Any] = _plain(asdict(thing))
    if isinstance(thing, Campaign):
        for period, budget in written.get("budgets", {}).items():
            if budget.keys() == {"amount"}:
                written["budgets"][period] = budget["amount"]
    return written


def _plain(value: Any) -> Any:
    match value:
        case dict():
            plain = {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
            return {key: inner for key, inner in plain.items() if inner not in ({}, [])}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case Decimal():
            return money(value)
        case datetime():
            return value.astimezone(UTC)
        case str():
            return str(value)
        case _:
            return value


def money(amount: Decimal) -> str:
    """An exact amount as people write it: with two decimals, and more only where there are more."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(DECIMALS_SHOWN, '0')}"
