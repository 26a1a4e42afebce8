"""Real upstreams that misbehave on cue, and a chain that asks them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from lxml import etree

from app.domain import Upstream
from app.errors import UnusableVast, UpstreamFailed
from app.observer import Observer
from app.upstreams.asker import Asker
from app.upstreams.cache import BodyCache
from app.upstreams.chain import UpstreamChain
from app.upstreams.client import UpstreamClient
from app.upstreams.fetched import Fetched
from app.upstreams.latencies import Latencies
from tests.faults.upstream_server import UpstreamServer


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture
async def fallback() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient()
    yield client
    await client.aclose()


class Values:
    def __init__(self, **values: str) -> None:
        self.values = values

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.values.values()))

    def tag_url(self, template: str, remaining_ms: int) -> str:
        return self.cache_key(template).replace("{tmax}", str(remaining_ms))

    def cache_key(self, template: str) -> str:
        for name, value in self.values.items():
            template = template.replace("{" + name + "}", value)
        return template

    def error_url(self, template: str, code: int) -> str:
        return template.replace("[ERRORCODE]", str(code))

    def headers(self) -> Mapping[str, str]:
        return {"X-Device-IP": "203.0.113.9"}


class Documents:
    def compile(self, body: bytes) -> Any:
        try:
            root = etree.fromstring(body, etree.XMLParser(resolve_entities=False))
        except etree.XMLSyntaxError as error:
            raise UnusableVast(str(error)) from error
        if root.getroottree().docinfo.doctype or not root.tag.endswith("VAST"):
            raise UnusableVast("no")
        if not len(root):
            raise UpstreamFailed("", "no_ad")
        return root


@dataclass
class Seen(Observer):
    """What an observer was told."""

    attempts: list[tuple[str, str]] = field(default_factory=list)
    looks: list[tuple[str, str]] = field(default_factory=list)
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    quotas: list[tuple[str, str]] = field(default_factory=list)

    def upstream_attempt_finished(self, upstream_id: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.attempts.append((upstream_id, str(outcome)))

    def upstream_cache_checked(self, upstream_id: str, outcome: str) -> None:
        self.looks.append((upstream_id, outcome))

    def breaker_changed(self, upstream_id: str, old: str, new: str) -> None:
        self.changes.append((upstream_id, old, new))

    def quota_checked(self, name: str, outcome: str) -> None:
        self.quotas.append((name, outcome))


@pytest.fixture
def seen() -> Seen:
    return Seen()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A chain, with what belongs to it in reach."""

    def __init__(self, client: UpstreamClient, seen: Seen) -> None:
        self.tokens: dict[str, int] = {}
        self.seen = seen
        self.latencies = Latencies(asyncio.get_running_loop().time)
        self.asker = Asker(client, Documents(), seen, self._may_send, self.latencies)
        self.clock = Clock()
        self.cache = BodyCache(self.asker, seen, self.clock, entries_max=100, bytes_max=1_000_000)
        self.chain = UpstreamChain(self.asker, self.cache, Documents())

    def _may_send(self, upstream: Upstream) -> bool:
        if upstream.max_qps is None:
            return True
        self.tokens[upstream.id] -= 1
        return self.tokens[upstream.id] >= 0

    async def fetch(self, *upstreams: Upstream, within_s: float = 2.0, late: bool = False, **values: str) -> Fetched:
        deadline = asyncio.get_running_loop().time() + within_s
        return await self.chain.fetch(upstreams, Values(**values), deadline, late=late)

    def in_hand(self, *upstreams: Upstream, **values: str) -> Fetched | None:
        return self.chain.in_hand(upstreams, Values(**values))


@pytest.fixture
async def bench(client: UpstreamClient, seen: Seen) -> AsyncIterator[Bench]:
    bench = Bench(client, seen)
    yield bench
    await bench.cache.aclose()
