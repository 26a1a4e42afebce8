"""The application on a real socket, and what players are told in its documents."""

import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import stamina.instrumentation
import structlog
from lxml import etree
from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings
from tests.served_ads import ads_of
from tests.valid_vast import assert_valid
from tests.web_server import served

BEACON_TTL_S = 604_800
STITCHER_TOKEN = "a-token-for-tests"
FORGERY = str.maketrans("0123456789abcdef", "123456789abcdef0")


@dataclass(frozen=True)
class ToldAd:
    """An ad as its document has it; `urls` are the beacons of this server, by event."""

    serve_id: UUID
    slot: int
    advertiser: str | None
    creative_id: str | None
    title: str
    urls: dict[str, str]

    @classmethod
    def read(cls, ad: etree._Element) -> Self:
        urls = {}
        for element in ad.iter("{*}Impression", "{*}Error", "{*}Tracking", "{*}ClickThrough"):
            path, _, token = (element.text or "").strip().partition("?t=")
            event = urlsplit(path).path.removeprefix("/event/").strip("/")
            if token:
                urls[event] = f"{urlsplit(path).path}?t={token.replace('[ERRORCODE]', '405')}"
        serving_id = _text(ad, "AdServingId") or ""
        serve_id, _, slot = serving_id.rpartition("-")
        creative = ad.find(".//{*}Creative")
        creative_id = None if creative is None else creative.get("id")
        return cls(UUID(serve_id), int(slot), _text(ad, "Advertiser"), creative_id, _text(ad, "AdTitle") or "", urls)


def _text(ad: etree._Element, name: str) -> str | None:
    found = ad.find(f".//{{*}}{name}")
    return None if found is None else found.text


@dataclass(frozen=True)
class Told:
    """The answer to an ad request: ads, or the reason for their lack."""

    ads: list[ToldAd]
    reason: str | None

    @classmethod
    def read(cls, document: bytes, reason: str | None) -> Self:
        assert_valid(document)
        ads = [ToldAd.read(ad) for ad in ads_of(document)]
        assert (reason is None) == bool(ads)
        return cls(ads, reason)


class Player:
    """A player, or many."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, **parameters: str) -> Told:
        answer = await self._client.get("/vast", params=parameters)
        assert answer.status_code == 200, answer.text
        return Told.read(answer.content, answer.headers.get("x-no-fill-reason"))

    async def stitch(self, requests: Sequence[Mapping[str, str]]) -> list[Told]:
        """Ask for several viewers at once, as an ad stitcher does; return the answers in the order of the requests."""
        headers = {"Authorization": f"Bearer {STITCHER_TOKEN}"}
        answer = await self._client.post("/v1/ads", json={"requests": requests}, headers=headers)
        assert answer.status_code == 200, answer.text
        lines = sorted(map(json.loads, answer.text.splitlines()), key=lambda line: line["index"])
        return [Told.read(line["vast"].encode(), line["no_fill_reason"]) for line in lines]

    async def status(self, **parameters: str) -> int:
        return (await self._client.get("/vast", params=parameters)).status_code

    async def send(self, url: str) -> None:
        answer = await self._client.get(url, follow_redirects=False)
        assert answer.status_code in (200, 302), answer.text

    async def forge(self, url: str) -> None:
        """Send a beacon with another signature."""
        head, _, signature = url.partition(".")
        await self.send(f"{head}.{signature.translate(FORGERY)}")


@asynccontextmanager
async def open_for_players(database_url: str) -> AsyncIterator[Player]:
    """One worker's whole application. It writes all of its counts before the block ends."""
    settings = Settings(
        database_url=database_url,
        secret_key=SecretStr("a secret for tests"),
        stitcher_token=SecretStr(STITCHER_TOKEN),
        beacon_ttl_s=BEACON_TTL_S,
        client_requests_per_s=0,
        serve_connections=1,
        fetch_connections=1,
        beacon_connections=1,
        pool_connections=2,
        request_deadline_ms=20_000,
        upstream_deadline_ms=10_000,
        group_fetch_wait_ms=5000,
        idle_in_transaction_timeout_ms=15_000,
        statement_timeout_ms=15_000,
        lock_timeout_ms=10_000,
        log_level="error",
    )
    async with (
        served(create_app(settings), lifespan="on") as url,
        httpx.AsyncClient(base_url=url, verify=False) as client,
    ):
        yield Player(client)


@contextmanager
def worker_process() -> Iterator[None]:
    """Restore what workers set up for their process, which is the tests' here: logs and garbage collection."""
    structlog_settings, thresholds = structlog.get_config(), gc.get_threshold()
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, stamina.instrumentation.get_on_retry_hooks()
    try:
        yield
    finally:
        structlog.configure(**structlog_settings)
        root.handlers[:], root.level = handlers, level
        stamina.instrumentation.set_on_retry_hooks(hooks)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
