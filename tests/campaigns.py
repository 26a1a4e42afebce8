"""Campaign files for tests of the whole server: short to write, applied as operators apply theirs."""

import tomllib
from decimal import Decimal

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.launch.databases import command_store


async def set_up(database_url: str, *parts: str) -> None:
    """Applies the parts as one campaign file."""
    draft = read_draft("test.toml", tomllib.loads("\n".join(parts), parse_float=Decimal))
    async with command_store(database_url) as store:
        await apply(store, draft)


def upstream(upstream_id: str, url: str, **limits: object) -> str:
    """An upstream that a busy machine answers in time; `limits` as in the file, such as max_qps=10."""
    return _table("upstreams", **{"id": upstream_id, "tag_url": url, "timeout_ms": 5000} | limits)


def campaign(campaign_id: str, **values: object) -> str:
    """An active campaign that costs nothing and may be asked for by its id, unless `values` say otherwise."""
    flight = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2100-01-01T00:00:00Z"}
    terms = {"id": campaign_id, "advertiser": "Acme", "currency": "USD", "direct": True}
    free = {} if "price" in values else {"cpm": "0"}
    return _table("campaigns", **{**terms, **free, **flight, **values})


def own_campaign(campaign_id: str, **values: object) -> str:
    """A campaign with a creative of its own."""
    return campaign(campaign_id, **values) + creative(f"{campaign_id}-15s", campaign_id)


def creative(creative_id: str, campaign_id: str, title: str = "Acme", **more: object) -> str:
    """A creative of 15 seconds, unless `more` says otherwise."""
    media_file = {"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}
    values = {"id": creative_id, "campaign_id": campaign_id, "title": title, "duration_s": 15}
    return _table("creatives", **values | more, media_files=[media_file])


def placement(placement_id: str, *campaigns: str, publisher_id: str = "publisher1", **values: object) -> str:
    """A placement, with its campaigns in the order in which they are tried; `values` as in the file."""
    own = {"id": placement_id, "publisher_id": publisher_id, "campaigns": list(campaigns)}
    return _table("placements", **own | values)


def publisher(publisher_id: str, **limits: object) -> str:
    """A publisher; `limits` as in the file."""
    return _table("publishers", id=publisher_id, **limits)


def order(order_id: str, **values: object) -> str:
    """An order of the campaigns' advertiser in their currency, unless `values` say otherwise."""
    return _table("orders", **{"id": order_id, "advertiser": "Acme", "currency": "USD"} | values)


def _table(kind: str, **values: object) -> str:
    return f"\n[[{kind}]]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'
