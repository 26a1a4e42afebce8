import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from app.embedded import EmbeddedPostgres
from app.store.roles import APP
from app.web.pages import STATIC
from tests.browser.campaigns import CAMPAIGNS
from tests.browser.site import Site
from tests.campaigns import set_up
from tests.launched import Launched
from tests.postgres import cloned_database
from tests.web_server import served

ROOT = Path(__file__).parents[2]
PLAYER = STATIC / "player" / "player.js"
BUILD_TIMEOUT_S = 120


@dataclass(frozen=True)
class World:
    """The ad server, its database, and the site around it."""

    url: str
    database: str
    site: Site
    site_url: str


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium, as Debian has it."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        # The sandbox needs rights that root in a container has not; nothing but our own pages is opened here.
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def player_bundle() -> None:
    """The players' bundle, made once with npm."""
    if PLAYER.exists():
        return
    if shutil.which("npm") is None:
        pytest.skip("the player is not bundled, and there is no npm to bundle it: make demo-player")
    try:
        subprocess.run(["make", "-C", ROOT / "demo-player"], check=True, timeout=BUILD_TIMEOUT_S, capture_output=True)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"the player cannot be bundled here: {error}")


@pytest.fixture(scope="session")
async def world(
    browser: Browser, player_bundle: None, postgres: EmbeddedPostgres, migrated_template: str
) -> AsyncIterator[World]:
    """Two workers of the real server on a database of their own, and the site."""
    site = Site()
    async with cloned_database(postgres, migrated_template) as database, served(site.app) as site_url:
        await set_up(database, CAMPAIGNS.replace("{site}", site_url))
        name = database.partition("?")[0].rpartition("/")[2]
        secrets = {"SECRET_KEY": "a-secret-for-tests", "ADMIN_TOKEN": "a-token-for-tests"}
        with Launched("serve", DATABASE_URL=postgres.url(name, APP), WORKERS="2", **secrets) as launched:
            launched.wait_for("Serving on")
            yield World(launched.url, database, site, site_url)
