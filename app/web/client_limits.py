"""Rate limits for client addresses, in requests a second, counted in this worker's memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from app.errors import RateLimited
from app.fast_path import Headers, headers_of, peer_of
from app.observer import Observer
from app.web.clients import ClientReader

ADDRESSES_MAX = 20_000
"""Size of each table, about 7 MB (tests/unit/web/test_client_limits.py); then the least recently used leave."""

BURST_S = 1.0
"""A burst may have the requests of this many seconds, and at least one."""

ROUNDING_S = 1e-6
"""Tolerance for rounding errors in sums of intervals."""

SESSION_COST = 10
"""A new viewing session counts as this many requests, because its row is kept for hours."""

IPV6_PREFIX = 64
"""A customer has at least a network of this size (RFC 6177 section 2), and may send from any address in it."""


class AddressRates:
    """A rate limit for each key by the generic cell rate algorithm (ITU-T I.371), which stores one time for each.

    That is the time by which all requests so far would have passed at an even pace. Keys whose time has passed leave
    the table.
    """

    def __init__(self, interval_s: float, burst_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._ahead_s = max(0.0, burst_s - interval_s) + ROUNDING_S
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def wait_s(self, key: str) -> float:
        """Return the seconds until the next request may pass; 0 if it may pass now."""
        now = self._clock()
        return max(0.0, self._due.get(key, now) - now - self._ahead_s)

    def take(self, key: str, cost: int = 1) -> float:
        """Count the request if it may pass; return the seconds until it may, 0 if it passed."""
        now = self._clock()
        due = max(self._due.get(key, now), now)
        wait_s = due - now - self._ahead_s
        if wait_s > 0:
            return wait_s
        self._due[key] = due + cost * self._interval_s
        self._due.move_to_end(key)
        while len(self._due) > ADDRESSES_MAX or next(iter(self._due.values())) <= now:
            self._due.popitem(last=False)
        return 0.0


class ClientLimits:
    """Counts the ad requests, beacons and sessions of a client together; create one in each worker.

    Each worker enforces its share of `requests_per_s`, so that all together never pass more. A client is the IPv4
    address or IPv6 /64 in front of the trusted proxies. Loopback addresses, the trusted proxies and `unlimited`
    networks have no limit.
    """

    def __init__(
        self,
        clients: ClientReader,
        observer: Observer,
        *,
        requests_per_s: int,
        workers: int,
        unlimited: Sequence[IPv4Network | IPv6Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._observer = observer
        self._is_on = requests_per_s > 0
        self._rates = AddressRates(workers / requests_per_s if requests_per_s else 0.0, BURST_S, clock)
        self._unlimited = tuple(unlimited)
        self._client = lru_cache(ADDRESSES_MAX)(self._client_of)

    def allows(self, kind: str, peer: str | None, headers: Headers, cost: int = 1) -> bool:
        """Return whether the request may pass, and count it if so; `kind` is its label in metrics."""
        return self._wait_s(kind, peer, headers, cost) == 0.0

    def check(self, kind: str, scope: Scope, cost: int = 1) -> None:
        """Count the request; raises RateLimited if it may not pass."""
        wait_s = self._wait_s(kind, peer_of(scope), headers_of(scope["headers"]), cost)
        if wait_s > 0:
            raise RateLimited("too many requests from this address", math.ceil(wait_s))

    def client(self, peer: str | None, headers: Headers) -> str | None:
        """Return the address or network whose requests are counted together; None if it has no limit."""
        sender = self._clients.sender(peer, headers)
        return None if sender is None or self._clients.trusts(sender) else self._client(sender)

    def _wait_s(self, kind: str, peer: str | None, headers: Headers, cost: int) -> float:
        client = self.client(peer, headers) if self._is_on else None
        if client is None:
            return 0.0
        wait_s = self._rates.take(client, cost)
        if wait_s > 0:
            self._observer.client_limited(kind)
        return wait_s

    def _client_of(self, address: str) -> str | None:
        try:
            ip = ip_address(address)
        except ValueError:
            return None
        ip = (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip
        if ip.is_loopback or any(ip in network for network in self._unlimited):
            return None
        return str(IPv6Network((ip, IPV6_PREFIX), strict=False)) if isinstance(ip, IPv6Address) else str(ip)
