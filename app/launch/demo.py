"""Demo content for an empty database, and the upstream of its campaigns."""

import asyncio
import tomllib
from collections.abc import Callable
from decimal import Decimal
from importlib.resources import files
from urllib.parse import urlsplit

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.errors import MisconfiguredServer
from app.launch.databases import command_store
from app.launch.sockets import free_port, require_free
from app.launch.supervisor import SupervisedProcess
from app.settings import Settings
from app.store import demo_content
from app.store.connections import connect
from app.store.setup_history import ChangeOrigin

CAMPAIGN_FILE = "demo.toml"
UPSTREAM_ID = "demo"
UPSTREAM_HOST = "127.0.0.1"


def load_demo(settings: Settings, database_url: str) -> bool:
    """Apply the demo's campaign file unless the database has campaigns; return whether it was applied."""
    return asyncio.run(_load(settings, database_url))


def demo_upstream_processes(database_url: str, report: Callable[[str], None]) -> list[SupervisedProcess]:
    """Return the demo's upstream for the stored tag URL, not yet started; an empty list if no campaign uses it."""
    address = urlsplit(asyncio.run(_tag_url(database_url)) or "")
    if address.hostname != UPSTREAM_HOST or address.port is None:
        return []
    try:
        require_free(address.hostname, address.port)
    except MisconfiguredServer as error:
        report(f"The demo upstream is not started: {error}.")
        return []
    return [SupervisedProcess("demo upstream", "app.launch.demo_upstream", [address.hostname, str(address.port)], {})]


async def _load(settings: Settings, database_url: str) -> bool:
    async with command_store(database_url) as store:
        async with store.connection() as connection:
            if not await demo_content.is_empty(connection):
                return False
        upstream_url = f"http://{UPSTREAM_HOST}:{free_port(UPSTREAM_HOST)}"
        text = (files("app.launch") / CAMPAIGN_FILE).read_text(encoding="utf-8")
        text = text.replace("{upstream_url}", upstream_url).replace("{demo_url}", settings.admin_base_url)
        draft = read_draft(CAMPAIGN_FILE, tomllib.loads(text, parse_float=Decimal))
        await apply(store, draft, origin=ChangeOrigin("demo content"))
    return True


async def _tag_url(database_url: str) -> str | None:
    async with connect(database_url) as connection:
        return await demo_content.read_tag_url(connection, UPSTREAM_ID)
