"""Real upstreams that misbehave on cue, and a chain that requests ads from them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from lxml import etree

from app.domain import Upstream
from app.errors import NoAd, UnusableVast
from app.observer import Observer
from app.upstreams.cache import BodyCache
from app.upstreams.chain import UpstreamChain
from app.upstreams.client import UpstreamClient
from app.upstreams.fetched_ad import FetchedAd
from app.upstreams.latencies import Latencies
from app.upstreams.requester import UpstreamRequester
from app.vast.document_cache import DocumentCache
from tests.faults.upstream_server import UpstreamServer
from tests.loop_clock import LoopClock, controlled_time


@pytest.fixture
async def loop_clock() -> AsyncIterator[LoopClock]:
    """The clock of timeouts and deadlines."""
    with controlled_time() as clock:
        yield clock


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
    """Request values that replace `{name}` by the value of that name."""

    def __init__(self, **values: str) -> None:
        self.values = values

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.values.values()))

    def tag_url(self, template: str, remaining_ms: int) -> str:
        return self.cache_key(template).replace("{tmax}", str(remaining_ms))

    def untrusted_url(self, template: str, remaining_ms: int) -> str:
        return template.replace("[CACHEBUSTING]", "12345678")

    def cache_key(self, template: str) -> str:
        for name, value in self.values.items():
            template = template.replace("{" + name + "}", value)
        return template

    def error_url(self, template: str, code: int) -> str:
        return template.replace("[ERRORCODE]", str(code))

    def headers(self) -> Mapping[str, str]:
        return {"X-Device-IP": "203.0.113.9"}


class StubDocument(NamedTuple):
    size_bytes: int


class StubDocuments(DocumentCache):
    """Documents that take as much memory as their bodies."""

    def __init__(self) -> None:
        super().__init__("http://ads.example")

    def compile(self, body: bytes) -> Any:
        try:
            root = etree.fromstring(body, etree.XMLParser(resolve_entities=False))
        except etree.XMLSyntaxError as error:
            raise UnusableVast(str(error)) from error
        if root.getroottree().docinfo.doctype or not root.tag.endswith("VAST"):
            raise UnusableVast("no")
        if not len(root):
            raise NoAd("no ad")
        return StubDocument(len(body))


@dataclass
class RecordingObserver(Observer):
    """Records every call."""

    attempts: list[tuple[str, str]] = field(default_factory=list)
    lookups: list[tuple[str, str]] = field(default_factory=list)
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    quotas: list[tuple[str, str]] = field(default_factory=list)

    def upstream_attempt_finished(self, upstream_id: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.attempts.append((upstream_id, str(outcome)))

    def upstream_cache_checked(self, upstream_id: str, outcome: str) -> None:
        self.lookups.append((upstream_id, outcome))

    def breaker_changed(self, upstream_id: str, old: str, new: str) -> None:
        self.changes.append((upstream_id, old, new))

    def quota_checked(self, name: str, outcome: str) -> None:
        self.quotas.append((name, outcome))


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


class Clock:
    """A clock in seconds that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Harness:
    """A chain and its parts."""

    def __init__(self, client: UpstreamClient, observer: RecordingObserver) -> None:
        self.tokens: dict[str, int] = {}
        self.observer = observer
        self.latencies = Latencies(asyncio.get_running_loop().time)
        documents = StubDocuments()
        self.requester = UpstreamRequester(client, documents, observer, self._take_quota, self.latencies)
        self.clock = Clock()
        self.cache = BodyCache(self.requester, observer, self.clock, entries_max=100, bytes_max=1_000_000)
        self.chain = UpstreamChain(self.requester, self.cache, documents)

    def _take_quota(self, upstream: Upstream) -> bool:
        if upstream.max_qps is None:
            return True
        self.tokens[upstream.id] -= 1
        return self.tokens[upstream.id] >= 0

    async def fetch(
        self, *upstreams: Upstream, timeout_s: float = 30.0, is_late: bool = False, **values: str
    ) -> FetchedAd:
        deadline = asyncio.get_running_loop().time() + timeout_s
        return await self.chain.fetch(upstreams, Values(**values), deadline, is_late=is_late)

    def find_cached(self, *upstreams: Upstream, **values: str) -> FetchedAd | None:
        return self.chain.find_cached(upstreams, Values(**values))


@pytest.fixture
async def harness(loop_clock: LoopClock, client: UpstreamClient, observer: RecordingObserver) -> AsyncIterator[Harness]:
    harness = Harness(client, observer)
    yield harness
    await harness.cache.aclose()
