"""The rows of the views of what was set up, from the campaign files that were applied."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.integration.accounting.recomputation.books import Books, Change
from tests.integration.accounting.recomputation.company import Item
from tests.integration.accounting.recomputation.spend_views import Row

DEFAULTS: Mapping[str, Item] = {
    "advertisers": {},
    "publishers": {"revenue_share": "0", "invalid_traffic": "serve"},
    "orders": {"prepaid": False},
    "upstreams": {
        "timeout_ms": 300,
        "max_body_bytes": 262_144,
        "max_redirects": 3,
        "cache_ttl_s": 0,
        "stale_while_revalidate_s": 0,
        "stale_if_error_s": 0,
        "max_in_flight": 64,
        "breaker_failures": 5,
        "breaker_reset_s": 60,
        "hedge": False,
    },
    "campaigns": {
        "status": "active",
        "timezone": "UTC",
        "billing": "serve",
        "pacing": "asap",
        "without_user": "skip",
        "late_impressions": "ignore",
        "hold_ttl_s": 3600,
        "direct": False,
        "targeting": {},
        "priority": 5,
        "weight": 1,
        "categories": [],
        "ads_per_pod": 1,
    },
    "creatives": {
        "universal_ad_id_registry": "unknown",
        "status": "active",
        "weight": 1,
        "position": "any",
        "bumper": False,
    },
    "placements": {"ad_breaks": [], "blocked_advertisers": [], "blocked_categories": []},
}
"""Values of keys that a campaign file leaves out, as docs/campaign-file.md has them."""

AMOUNTS = ("cpm", "budget", "revenue_share", "limit")
SECRET_KEYS = ("tag_url",)


def setup_changes(books: Books) -> list[Row]:
    """One row for each changed key of each item."""
    return [row for change in books.changes for row in _changed_keys(change)]


def _changed_keys(change: Change) -> list[Row]:
    old = {} if change.old is None else flat(change.kind, change.old)
    new = flat(change.kind, change.new)
    return [
        {
            "changed_at": change.changed_at,
            "kind": change.kind.removesuffix("s"),
            "id": change.new["id"],
            "key": key,
            "old": "(not shown)" if key in SECRET_KEYS else old.get(key),
            "new": "(not shown)" if key in SECRET_KEYS else new.get(key),
            "author": change.author,
            "role": change.role,
            "source": change.source,
            "revision": change.revision,
            "version": change.version,
        }
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def flat(kind: str, item: Item) -> dict[str, Any]:
    """The keys of an item with their values as text; lists and tables stay as they are."""
    values: dict[str, Any] = {}
    for key, value in {"name": item["id"], **DEFAULTS[kind], **item}.items():
        if key == "name" and kind not in ("advertisers", "publishers"):
            continue
        if key == "budgets":
            values |= {f"budgets.{period}": _budget(budget) for period, budget in value.items()}
        else:
            values[key] = amount_text(value) if key in AMOUNTS else _text(value)
    return values


def amount_text(amount: str) -> str:
    """An amount with at least two decimals."""
    places = max(2, len(amount.partition(".")[2]))
    return f"{Decimal(amount):.{places}f}"


def _budget(budget: str | Mapping[str, Any]) -> Any:
    if isinstance(budget, str):
        return amount_text(budget)
    return dict(budget) | ({"amount": amount_text(budget["amount"])} if "amount" in budget else {})


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, list) and value and isinstance(value[0], dict) and "url" in value[0]:
        return [{"delivery": "progressive", **item} for item in value]
    return value


def terms_as_of(books: Books, moment: datetime) -> list[Row]:
    """The rows of finance.terms_as_of(moment)."""
    latest: dict[tuple[str, str], Change] = {}
    for change in books.changes:
        if change.changed_at < moment:
            latest[change.kind, change.new["id"]] = change
    rows = []
    for (kind, campaign_id), change in latest.items():
        if kind == "campaigns":
            item = {**DEFAULTS["campaigns"], **change.new}
            advertiser = latest["advertisers", item["advertiser"]].new
            rows.append(
                {
                    "campaign_id": campaign_id,
                    "advertiser_id": item["advertiser"],
                    "advertiser": advertiser.get("name", advertiser["id"]),
                    "order_id": item.get("order"),
                    "cpm": Decimal(item["cpm"]),
                    "price_model": "cpm",
                    "price": Decimal(item["cpm"]),
                    "budgets": {period: _budget(budget) for period, budget in item.get("budgets", {}).items()},
                    "since": change.changed_at,
                    "author": change.author,
                    **{key: item[key] for key in ("status", "starts_at", "ends_at", "timezone", "currency")},
                    **{key: item[key] for key in ("billing", "pacing")},
                }
            )
    return rows
