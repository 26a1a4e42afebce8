"""Authentication by bearer token (RFC 6750 section 2.1), and rate limits for wrong tokens."""

import hmac
import math
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network

import structlog
from starlette.requests import Request
from starlette.responses import Response

from app.errors import RateLimited, Unauthorized
from app.fast_path import headers_of, peer_of
from app.observer import Observer
from app.web.client_limits import AddressRates, ClientLimits
from app.web.clients import ClientReader

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]

FAILURE_INTERVAL_S = 5.0
FAILURE_BURST_S = 50.0
"""A client may send ten wrong tokens in a burst, and then one every five seconds."""

LOG_INTERVAL_S = 1.0
"""Minimum time between two log lines about wrong tokens; a line has the number of tokens since the last one."""

IPV4_PREFIX, IPV6_PREFIX = 24, 64
"""Prefix lengths of the networks that the log names instead of addresses."""


class TokenFailures:
    """Logs, counts and rate-limits wrong tokens; create one in each worker."""

    def __init__(self, clients: ClientReader, client_limits: ClientLimits, observer: Observer) -> None:
        self._clients = clients
        self._client_limits = client_limits
        self._observer = observer
        self._rates = AddressRates(FAILURE_INTERVAL_S, FAILURE_BURST_S)
        self._unlogged = 0
        self._logged_at = -math.inf

    def check(self, request: Request) -> None:
        """Raise RateLimited if the client has sent too many wrong tokens, even if this one is right."""
        client = self._client_limits.client(peer_of(request.scope), headers_of(request.scope["headers"]))
        wait_s = 0.0 if client is None else self._rates.wait_s(client)
        if wait_s > 0:
            raise RateLimited("too many wrong tokens from this address", math.ceil(wait_s))

    def record(self, request: Request) -> None:
        """Count and log a request with a wrong token."""
        peer, headers = peer_of(request.scope), headers_of(request.scope["headers"])
        client = self._client_limits.client(peer, headers)
        if client is not None:
            self._rates.take(client)
        self._observer.token_refused()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL_S:
            network = network_of(self._clients.sender(peer, headers))
            log.warning("token_refused", network=network, path=request.url.path, size=self._unlogged)
            self._unlogged, self._logged_at = 0, now


class BearerAuth:
    """Accepts requests with one of `tokens`; empty tokens are never accepted."""

    def __init__(self, *tokens: str, failures: TokenFailures) -> None:
        self._tokens = [token.encode() for token in tokens if token]
        self._failures = failures

    def accepts(self, request: Request) -> bool:
        """Return whether the request has a valid token; raises RateLimited after too many wrong ones."""
        header = request.headers.get("authorization")
        if header is None or not self._tokens:
            return False
        self._failures.check(request)
        scheme, _, token = header.partition(" ")
        sent = token.strip().encode()
        if scheme.lower() == "bearer" and any(hmac.compare_digest(sent, valid) for valid in self._tokens):
            return True
        self._failures.record(request)
        return False

    def authorize(self, request: Request) -> None:
        """Raise Unauthorized unless the request has a valid token."""
        if not self._tokens:
            raise Unauthorized("the admin API is disabled because ADSERVER_ADMIN_TOKEN is not set")
        if not self.accepts(request):
            raise Unauthorized("the admin token is missing or wrong")

    def protect(self, handler: Handler) -> Handler:
        """Return the handler with a check that raises Unauthorized for requests without a valid token."""

        async def authorized(request: Request) -> Response:
            self.authorize(request)
            return await handler(request)

        return authorized


def network_of(address: str | None) -> str | None:
    """Return the network of an address, which the log may name; None if it is not an address."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return None
    return str(ip_network((ip, IPV4_PREFIX if ip.version == 4 else IPV6_PREFIX), strict=False))
