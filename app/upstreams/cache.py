"""A cache of upstream bodies and their compiled documents; never of answers, each of which belongs to one player.

A body is fresh for `cache_ttl_s`. After that it may be served for `stale_while_revalidate_s` while it is refreshed,
and for `stale_if_error_s` while its upstream fails (as in RFC 5861). A body in use is refreshed before it expires, so
that no player waits for it.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.observer import Observer
from app.upstreams.failures import FailureKind
from app.upstreams.request_values import RequestValues
from app.upstreams.requester import UpstreamRequester, UpstreamResponse

ENTRIES_MAX = 10_000
BYTES_MAX = 64 * 2**20
ENTRY_BYTES = 1000
"""The memory of an entry besides its key, body and compiled document."""

REFRESH_AFTER = (0.75, 0.9)
"""The fraction of its TTL after which a body in use is refreshed; random, so that workers do not refresh together."""

Key = tuple[str, str]
"""Upstream id, and tag URL without the macros whose values vary per request."""


@dataclass(slots=True)
class _Entry:
    response: UpstreamResponse
    fetched_at: float
    refresh_timer: asyncio.TimerHandle
    size_bytes: int = 0
    document_bytes: int = 0
    """The part of `size_bytes` that the compiled document takes."""
    values: RequestValues | None = None
    """Those of the first request that found the entry here; None until then, when nothing needs a refresh."""


class BodyCache:
    """A cache bounded in entries and bytes that sends one request for all concurrent misses of a key."""

    def __init__(
        self,
        requester: UpstreamRequester,
        observer: Observer,
        clock: Callable[[], float],
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._requester = requester
        self._observer = observer
        self._clock = clock
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._fetches: dict[Key, asyncio.Task[UpstreamResponse]] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, upstream: Upstream, values: RequestValues) -> UpstreamResponse | None:
        """Return the cached response if it may be served, and start a refresh if it is stale.

        A hit is reported to the observer, a miss is not.
        """
        if not upstream.cache_ttl_s:
            return None
        key = _key(upstream, values)
        entry = self._entries.get(key)
        if entry is None:
            return None
        stale_s = self._clock() - entry.fetched_at - upstream.cache_ttl_s
        if stale_s < 0:
            self._observer.upstream_cache_checked(upstream.id, "hit")
        elif stale_s < upstream.stale_while_revalidate_s:
            self._observer.upstream_cache_checked(upstream.id, "stale")
            self._fetch(key, upstream, values)
        elif stale_s < upstream.stale_if_error_s and self._requester.breakers.would_reject(upstream.id):
            self._observer.upstream_cache_checked(upstream.id, "stale")
        else:
            return None
        self._entries.move_to_end(key)
        self._update_document_bytes(entry)
        if entry.values is None:
            entry.values = values
            self._add_bytes(entry, values.size_bytes)
        return entry.response

    async def get(
        self, upstream: Upstream, values: RequestValues, timeout_s: float, *, short_deadline: bool = False
    ) -> UpstreamResponse:
        """Return the response from the cache or from the upstream; raise UpstreamFailed."""
        if not upstream.cache_ttl_s:
            return await self._requester.request(upstream, values, timeout_s, short_deadline=short_deadline)
        if response := self.find(upstream, values):
            return response
        if timeout_s <= 0:
            raise UpstreamFailed(upstream.id, FailureKind.DEADLINE)
        key = _key(upstream, values)
        try:
            response = await self._wait(self._fetch(key, upstream, values), upstream, timeout_s)
        except UpstreamFailed as failure:
            stale = self._stale_if_error(key, upstream, failure)
            if stale is None:
                raise
            self._observer.upstream_cache_checked(upstream.id, "stale")
            return stale
        self._observer.upstream_cache_checked(upstream.id, "miss")
        return response

    async def _wait(
        self, fetch: asyncio.Task[UpstreamResponse], upstream: Upstream, timeout_s: float
    ) -> UpstreamResponse:
        """Wait for a fetch that other requests may share; a timeout here does not cancel it."""
        done, _ = await asyncio.wait([fetch], timeout=timeout_s)
        if not done:
            raise UpstreamFailed(upstream.id, FailureKind.TIMEOUT)
        return fetch.result()

    def _stale_if_error(self, key: Key, upstream: Upstream, failure: UpstreamFailed) -> UpstreamResponse | None:
        entry = self._entries.get(key)
        if entry is None or failure.kind == FailureKind.NO_AD:
            return None
        stale_s = self._clock() - entry.fetched_at - upstream.cache_ttl_s
        return entry.response if stale_s < upstream.stale_if_error_s else None

    def _fetch(self, key: Key, upstream: Upstream, values: RequestValues) -> asyncio.Task[UpstreamResponse]:
        """Return the running fetch of this key, or start one."""
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = asyncio.create_task(self._request(key, upstream, values))
            fetch.add_done_callback(lambda done: self._forget_fetch(key, done))
        return fetch

    async def _request(self, key: Key, upstream: Upstream, values: RequestValues) -> UpstreamResponse:
        try:
            response = await self._requester.request(upstream, values, upstream.timeout_ms / 1000)
        except UpstreamFailed as failure:
            if failure.kind == FailureKind.NO_AD:
                self._remove(key)
            raise
        self._store(key, upstream, replace(response, from_cache=True))
        return response

    def _forget_fetch(self, key: Key, fetch: asyncio.Task[UpstreamResponse]) -> None:
        del self._fetches[key]
        if not fetch.cancelled():
            fetch.exception()  # retrieved, because every request that waited for it may be gone

    def _store(self, key: Key, upstream: Upstream, response: UpstreamResponse) -> None:
        self._remove(key)
        size_bytes = ENTRY_BYTES + sum(map(len, key)) + len(response.body)
        if size_bytes + response.document.size_bytes > self._bytes_max:
            return
        delay_s = upstream.cache_ttl_s * random.uniform(*REFRESH_AFTER)  # noqa: S311 - jitter
        refresh_timer = asyncio.get_running_loop().call_later(delay_s, self._refresh_if_used, key, upstream)
        entry = self._entries[key] = _Entry(response, self._clock(), refresh_timer)
        self._add_bytes(entry, size_bytes)
        self._update_document_bytes(entry)

    def _update_document_bytes(self, entry: _Entry) -> None:
        """Count the document's present size: it grows when further Ads of it are compiled."""
        added_bytes = entry.response.document.size_bytes - entry.document_bytes
        if added_bytes and entry.size_bytes:
            entry.document_bytes += added_bytes
            self._add_bytes(entry, added_bytes)

    def _add_bytes(self, entry: _Entry, size_bytes: int) -> None:
        """Count memory that the newest entry takes, and evict the least recently used entries above the limits."""
        entry.size_bytes += size_bytes
        self.size_bytes += size_bytes
        while len(self._entries) > self._entries_max or self.size_bytes > self._bytes_max:
            self._remove(next(iter(self._entries)))

    def _refresh_if_used(self, key: Key, upstream: Upstream) -> None:
        entry = self._entries[key]
        if entry.values is not None:
            self._fetch(key, upstream, entry.values)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.refresh_timer.cancel()
            self.size_bytes -= entry.size_bytes
            entry.size_bytes = 0

    async def aclose(self) -> None:
        """Cancel the running fetches and clear the cache."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        while self._entries:
            self._remove(next(iter(self._entries)))


def _key(upstream: Upstream, values: RequestValues) -> Key:
    return upstream.id, values.cache_key(upstream.tag_url)
