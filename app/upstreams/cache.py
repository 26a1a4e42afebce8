"""Upstream bodies kept compiled, between the chain and the asker; never an answer, which is each player's own.

A body is fresh for `cache_ttl_s`. After that it may serve for `stale_while_revalidate_s` while it is renewed, and for
`stale_if_error_s` while its upstream fails. One in use is renewed before it expires, so that no player waits for it.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.observer import Observer
from app.upstreams.asker import Answer, Asker
from app.upstreams.failures import FailureKind
from app.upstreams.fetched import RequestValues

ENTRIES_MAX = 10_000
BYTES_MAX = 64 * 2**20
ENTRY_BYTES = 1000
"""What an entry takes beside its key, its body and the compiled document."""

RENEW_AFTER = (0.75, 0.9)
"""The part of its life after which a body in use is renewed, at random, so that workers do not all ask at once."""

Key = tuple[str, str]
"""Upstream id, and tag URL without what changes with every request."""


@dataclass(slots=True)
class _Entry:
    answer: Answer
    fetched_at: float
    renewal: asyncio.TimerHandle
    size_bytes: int = 0
    document_bytes: int = 0
    """The part of it that the compiled document takes."""
    context: RequestValues | None = None
    """Of the first request that it served; None while it has served nobody but those who waited for it."""


class BodyCache:
    """Bounded in entries and bytes; one fetch for however many miss the same key at once."""

    def __init__(
        self,
        asker: Asker,
        observer: Observer,
        clock: Callable[[], float],
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._asker = asker
        self._observer = observer
        self._clock = clock
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._fetches: dict[Key, asyncio.Task[Answer]] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look(self, upstream: Upstream, context: RequestValues) -> Answer | None:
        """The body, if it is here and may serve; starts a renewal if it is stale. Counts a hit, but not a miss."""
        if not upstream.cache_ttl_s:
            return None
        key = _key(upstream, context)
        entry = self._entries.get(key)
        if entry is None:
            return None
        stale_s = self._clock() - entry.fetched_at - upstream.cache_ttl_s
        if stale_s < 0:
            self._observer.upstream_cache_checked(upstream.id, "hit")
        elif stale_s < upstream.stale_while_revalidate_s:
            self._observer.upstream_cache_checked(upstream.id, "stale")
            self._fetch(key, upstream, context)
        elif stale_s < upstream.stale_if_error_s and self._asker.breakers.refuses(upstream.id):
            self._observer.upstream_cache_checked(upstream.id, "stale")
        else:
            return None
        self._entries.move_to_end(key)
        self._weigh(entry)
        if entry.context is None:
            entry.context = context
            self._grow(entry, context.size_bytes)
        return entry.answer

    async def ask(
        self, upstream: Upstream, context: RequestValues, within_s: float, *, hurried: bool = False
    ) -> Answer:
        """The body from here or from the upstream; raises UpstreamFailed."""
        if not upstream.cache_ttl_s:
            return await self._asker.ask(upstream, context, within_s, hurried=hurried)
        if answer := self.look(upstream, context):
            return answer
        if within_s <= 0:
            raise UpstreamFailed(upstream.id, FailureKind.DEADLINE)
        key = _key(upstream, context)
        try:
            answer = await self._join(self._fetch(key, upstream, context), upstream, within_s)
        except UpstreamFailed as failure:
            stale = self._stale_if_error(key, upstream, failure)
            if stale is None:
                raise
            self._observer.upstream_cache_checked(upstream.id, "stale")
            return stale
        self._observer.upstream_cache_checked(upstream.id, "miss")
        return answer

    async def _join(self, fetch: asyncio.Task[Answer], upstream: Upstream, within_s: float) -> Answer:
        """Waits for a fetch that others wait for too; it goes on when this one gives up."""
        done, _ = await asyncio.wait([fetch], timeout=within_s)
        if not done:
            raise UpstreamFailed(upstream.id, FailureKind.TIMEOUT)
        return fetch.result()

    def _stale_if_error(self, key: Key, upstream: Upstream, failure: UpstreamFailed) -> Answer | None:
        entry = self._entries.get(key)
        if entry is None or failure.kind == FailureKind.NO_AD:
            return None
        stale_s = self._clock() - entry.fetched_at - upstream.cache_ttl_s
        return entry.answer if stale_s < upstream.stale_if_error_s else None

    def _fetch(self, key: Key, upstream: Upstream, context: RequestValues) -> asyncio.Task[Answer]:
        """The fetch that is under way for this key, or a new one."""
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = asyncio.create_task(self._renew(key, upstream, context))
            fetch.add_done_callback(lambda done: self._settle(key, done))
        return fetch

    async def _renew(self, key: Key, upstream: Upstream, context: RequestValues) -> Answer:
        try:
            answer = await self._asker.ask(upstream, context, upstream.timeout_ms / 1000)
        except UpstreamFailed as failure:
            if failure.kind == FailureKind.NO_AD:
                self._drop(key)
            raise
        self._keep(key, upstream, replace(answer, from_cache=True))
        return answer

    def _settle(self, key: Key, fetch: asyncio.Task[Answer]) -> None:
        del self._fetches[key]
        if not fetch.cancelled():
            fetch.exception()  # nobody may have waited for it

    def _keep(self, key: Key, upstream: Upstream, answer: Answer) -> None:
        self._drop(key)
        size_bytes = ENTRY_BYTES + sum(map(len, key)) + len(answer.body)
        if size_bytes + _document_bytes(answer) > self._bytes_max:
            return
        delay_s = upstream.cache_ttl_s * random.uniform(*RENEW_AFTER)  # noqa: S311 - jitter
        renewal = asyncio.get_running_loop().call_later(delay_s, self._renew_if_used, key, upstream)
        entry = self._entries[key] = _Entry(answer, self._clock(), renewal)
        self._grow(entry, size_bytes)
        self._weigh(entry)

    def _weigh(self, entry: _Entry) -> None:
        """Counts what its document takes by now: it is compiled further when more of it is asked for."""
        grown = _document_bytes(entry.answer) - entry.document_bytes
        if grown and entry.size_bytes:
            entry.document_bytes += grown
            self._grow(entry, grown)

    def _grow(self, entry: _Entry, size_bytes: int) -> None:
        """Counts what the newest entry takes more, and makes room for it."""
        entry.size_bytes += size_bytes
        self.size_bytes += size_bytes
        while len(self._entries) > self._entries_max or self.size_bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def _renew_if_used(self, key: Key, upstream: Upstream) -> None:
        entry = self._entries[key]
        if entry.context is not None:
            self._fetch(key, upstream, entry.context)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.renewal.cancel()
            self.size_bytes -= entry.size_bytes
            entry.size_bytes = 0

    async def aclose(self) -> None:
        """Ends what is under way, and forgets everything."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        while self._entries:
            self._drop(next(iter(self._entries)))


def _document_bytes(answer: Answer) -> int:
    """What the compiled document says it takes; one that does not say is about as large as its body."""
    return int(getattr(answer.document, "size_bytes", len(answer.body)))


def _key(upstream: Upstream, context: RequestValues) -> Key:
    return upstream.id, context.cache_key(upstream.tag_url)
