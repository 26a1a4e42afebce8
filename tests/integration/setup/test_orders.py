"""Orders and advertisers: changed with their campaigns, renamed, and put through the admin API."""

import tomllib
from urllib.parse import quote

import httpx
import pytest

from app.campaign_file.exporter import to_toml
from app.errors import InvalidFile
from app.store.connections import Store
from tests.integration.setup.files import Document, apply_document, campaign, creative, loaded
from tests.integration.setup.test_admin_api import api, faults, put
from tests.unit.campaign_file.examples import ordered

__all__ = ["api"]


def order(**keys: object) -> Document:
    return {"id": "o", "advertiser": "Acme", "currency": "USD", "budget": "100", **keys}


def in_order(**keys: object) -> Document:
    return {"campaigns": [campaign(order="o", **keys)], "creatives": [creative()]}


async def test_an_order_can_change_with_its_campaigns_until_it_is_used(store: Store) -> None:
    await apply_document(store, {"orders": [order()], **in_order()})
    changed = {"advertiser": "Globex", "currency": "EUR"}
    result = await apply_document(store, {"orders": [order(**changed)], **in_order(**changed)})
    assert result.updated == ("order o", "campaign spring")
    known = await loaded(store)
    assert (known.orders["o"].currency, known.campaigns["spring"].advertiser) == ("EUR", "Globex")


async def test_an_order_cannot_leave_its_campaigns_behind(store: Store) -> None:
    await apply_document(store, {"orders": [order()], **in_order()})
    with pytest.raises(InvalidFile, match="must fit campaign 'spring', whose currency is USD"):
        await apply_document(store, {"orders": [order(currency="EUR")]})
    assert (await loaded(store)).orders["o"].currency == "USD"


async def test_a_new_name_of_an_advertiser_reaches_its_campaigns(store: Store) -> None:
    await apply_document(store, in_order() | {"orders": [order()]})
    await apply_document(store, {"advertisers": [{"id": "Acme", "name": "Acme Inc."}]})
    known = await loaded(store)
    assert known.advertiser_name(known.campaigns["spring"]) == "Acme Inc."
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT advertiser FROM campaigns") == "Acme Inc."


async def test_an_export_of_orders_and_names_changes_nothing(store: Store) -> None:
    first = await apply_document(store, ordered())
    exported = tomllib.loads(to_toml(await loaded(store)))
    assert {"advertisers", "orders"} <= exported.keys()
    assert (await apply_document(store, exported)).revision == first.revision


async def test_orders_advertisers_and_publishers_can_be_put(api: httpx.AsyncClient) -> None:
    file = ordered()
    for kind in ("publishers", "advertisers", "orders"):
        (entry,) = file[kind]
        assert (await put(api, f"/v1/{kind}/{entry['id']}", entry)).status_code == 201
        shown = (await api.get(f"/v1/{kind}/{entry['id']}")).json()
        assert shown["id"] == entry["id"]
        assert (await put(api, f"/v1/{kind}/{entry['id']}", shown)).status_code == 200
        assert [listed["id"] for listed in (await api.get(f"/v1/{kind}")).json()[kind]] == [entry["id"]]
    assert (await api.get("/v1/publishers/tv")).json()["revenue_share"] == "0.70"
    assert faults(await put(api, "/v1/publishers/tv", {"revenue_share": "1.5"})) == [
        ("revenue_share", "must be between 0 and 1")
    ]
    assert faults(await put(api, "/v1/orders/o", {"currency": "USD"})) == [("advertiser", "is required")]


async def test_an_advertiser_whose_id_has_a_slash_can_be_put(api: httpx.AsyncClient) -> None:
    path = f"/v1/advertisers/{quote('A/B Media', safe='')}"
    assert (await put(api, path, {"name": "A/B Media Ltd."})).status_code == 201
    assert (await api.get(path)).json() == {"id": "A/B Media", "name": "A/B Media Ltd."}
