"""Webhooks of a campaign file: their addresses are public, and their secrets stay with the owner."""

import tomllib
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from app.campaign_file.apply import apply
from app.campaign_file.campaign_admin import CampaignAdminService
from app.campaign_file.exporter import to_toml
from app.campaign_file.parser import read_draft
from app.errors import InvalidFile
from app.serving.catalogs import CatalogHolder
from app.store.connections import Store
from app.web.admin import CampaignAdminEndpoints
from app.web.ports import OperatorAccess
from app.web.problems import on_error
from tests.integration.setup.files import apply_document, loaded
from tests.integration.setup.test_setup_history import changes, history, names
from tests.players import connected
from tests.web_server import accepted_token

SECRET = "whsec_WW91ciBvd24gc2VjcmV0LCBub3QgdGhpcyBvbmU="


def file_with(**keys: object) -> dict[str, Any]:
    return {"webhooks": [{"id": "chat", "url": "https://hooks.example/x", "secret": SECRET, **keys}]}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "localhost",
        "LOCALHOST.",
        "api.localhost",
        "10.0.0.8",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.8]",
        "[64:ff9b::10.0.0.8]",
    ],
)
async def test_a_private_address_is_refused_with_one_line(store: Store, host: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        await apply_document(store, file_with(url=f"http://{host}:8080/hook"))
    (line,) = str(refused.value).splitlines()
    assert line.startswith("test.toml: webhooks[0].url: must lead to a public address or into ADSERVER_WEBHOOK_PRIVATE")
    assert (await loaded(store)).webhooks == {}


async def test_a_network_that_is_listed_is_accepted_and_no_other(store: Store) -> None:
    networks = [ip_network("10.0.0.0/24")]
    draft = read_draft("test.toml", file_with(url="http://10.0.0.8/"))
    assert (await apply(store, draft, webhook_networks=networks)).created == ("webhook chat",)
    with pytest.raises(InvalidFile):
        await apply(store, read_draft("test.toml", file_with(url="http://10.0.1.8/")), webhook_networks=networks)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"secret": "whsec_c2hvcnQ="}, "secret: must be whsec_ followed by 24 to 64 random bytes in Base64"),
        ({"secret": "WW91ciBvd24gc2VjcmV0LCBub3QgdGhpcyBvbmU="}, "secret: must be whsec_ followed by"),
        ({"secret": "whsec_not Base64 at all, but long enough"}, "secret: must be whsec_ followed by"),
        ({"events": ["budget.gone"]}, "events[0]: must be 'budget.reached_80_percent'"),
        ({"events": ["month.closed", "month.closed"]}, "events: 'month.closed' must not be repeated"),
        ({"url": "ftp://hooks.example/"}, "url: must be an absolute URL"),
        ({"status": "ended"}, "status: must be 'active' or 'paused'"),
    ],
)
async def test_a_fault_is_one_line_without_the_secret(store: Store, keys: dict[str, object], line: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        await apply_document(store, file_with(**keys))
    assert str(refused.value).startswith(f"test.toml: webhooks[0].{line}")
    assert len(refused.value.faults) == 1
    assert "whsec_" not in str(refused.value).replace("whsec_ followed", "")


async def test_a_secret_is_required_once_and_then_kept(store: Store) -> None:
    without = {"webhooks": [{"id": "chat", "url": "https://hooks.example/x"}]}
    with pytest.raises(InvalidFile, match="secret: is required for a new webhook"):
        await apply_document(store, without)
    await apply_document(store, file_with())
    assert (await apply_document(store, without)).unchanged == ("webhook chat",)
    without["webhooks"][0]["status"] = "paused"
    assert (await apply_document(store, without)).updated == ("webhook chat",)
    assert (await loaded(store)).webhooks["chat"].secret == SECRET


async def test_an_export_has_the_secret_and_changes_nothing(store: Store) -> None:
    await apply_document(store, file_with(events=["month.closed", "campaign.over"]))
    catalog = await loaded(store)
    export = to_toml(catalog)
    assert SECRET in export
    assert SECRET not in repr(catalog)
    again = await apply(store, read_draft("export", tomllib.loads(export)))
    assert (again.created, again.updated, again.unchanged) == ((), (), ("webhook chat",))


async def test_the_admin_api_and_its_log_show_no_secret(store: Store) -> None:
    catalogs = await CatalogHolder.open(store)
    admin = accepted_token("t0ken")
    access = OperatorAccess(admin, None, beyond_loopback=False)
    endpoints = CampaignAdminEndpoints(CampaignAdminService(store, catalogs), admin, access, 10_000)
    app = Starlette(routes=endpoints.routes(), exception_handlers={InvalidFile: on_error})
    transport = httpx.ASGITransport(app=app)
    headers = {"Authorization": "Bearer t0ken"}
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            body = file_with()["webhooks"][0]
            created = await client.put("/v1/webhooks/chat", json=body)
            changed = await client.put("/v1/webhooks/chat", json=body | {"secret": SECRET.replace("W", "X")})
            read = await client.get("/v1/webhooks/chat")
            page = await client.get("/v1/webhooks")
            refused = await client.put("/v1/webhooks/other", json=body | {"id": "other", "url": "http://10.0.0.8/"})
            put_back = await client.put("/v1/webhooks/chat", json=read.json())
    assert [created.status_code, changed.status_code, refused.status_code] == [201, 200, 400]
    expected = {"id": "chat", "url": "https://hooks.example/x", "status": "active"}
    assert [created.json(), changed.json(), read.json(), put_back.json()] == [expected] * 4
    assert page.json()["webhooks"] == [expected]
    assert [line["changes"]["secret"] for line in logs if line["event"] == "setup_changed"] == ["changed"] * 2
    assert "whsec_" not in str(logs)
    assert "hooks.example" not in str(logs)


async def test_the_history_of_a_webhook_shows_that_its_secret_has_changed_and_no_secret(
    store: Store, database: str, finance_database: str
) -> None:
    secrets = [SECRET, SECRET.replace("W", "X")]
    (webhook,) = file_with()["webhooks"]
    await apply_document(store, file_with())
    await apply_document(store, file_with(secret=secrets[1], events=["month.closed"]))
    created, changed = await history(database)
    assert names([created, changed]) == [("webhook", "chat")] * 2
    assert created["new"] == webhook | {"secret": shown_secret(secrets[0]), "events": [], "status": "active"}
    assert changed["new"] == created["new"] | {"secret": shown_secret(secrets[1]), "events": ["month.closed"]}
    assert (changed["changed_keys"], changed["source"]) == (["events", "secret"], "file test.toml")
    assert await changes(finance_database) == [
        ("webhook", "chat", "events", "[]", '["month.closed"]'),
        ("webhook", "chat", "secret", "(not shown)", "(not shown)"),
    ]
    async with connected(database) as connection:
        await connection.execute("TRUNCATE webhooks CASCADE")
    assert [row["new"] for row in await history(database)][2:] == [None]


def shown_secret(secret: str) -> str:
    return f"SHA-256 {sha256(secret.encode()).hexdigest()[:16]}"
