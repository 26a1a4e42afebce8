"""Bearer tokens, `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), and what happens to wrong ones."""

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

WRONG_INTERVAL_S = 5.0
WRONG_BURST_S = 50.0
"""A client may send ten wrong tokens at once, and then one every five seconds."""

LOG_INTERVAL_S = 1.0
"""Wrong tokens are logged no more often; a line says how many there were since the one before."""

IPV4_PREFIX, IPV6_PREFIX = 24, 64
"""As much of an address as the log names."""


class TokenFailures:
    """Logs, counts and slows down wrong tokens; make one for each worker."""

    def __init__(self, clients: ClientReader, client_limits: ClientLimits, observer: Observer) -> None:
        self._clients = clients
        self._client_limits = client_limits
        self._observer = observer
        self._rates = AddressRates(WRONG_INTERVAL_S, WRONG_BURST_S)
        self._unlogged = 0
        self._logged_at = -math.inf

    def check(self, request: Request) -> None:
        """Raises RateLimited for a client that has sent too many wrong tokens, whatever it sends now."""
        client = self._client_limits.client(peer_of(request.scope), headers_of(request.scope["headers"]))
        wait_s = 0.0 if client is None else self._rates.wait_s(client)
        if wait_s > 0:
            raise RateLimited("this address has sent too many wrong tokens", math.ceil(wait_s))

    def note(self, request: Request) -> None:
        """A request carried a wrong token."""
        peer, headers = peer_of(request.scope), headers_of(request.scope["headers"])
        client = self._client_limits.client(peer, headers)
        if client is not None:
            self._rates.take(client)
        self._observer.token_refused()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL_S:
            network = network_of(self._clients.sender(peer, headers))
            log.warning("token refused", network=network, path=request.url.path, size=self._unlogged)
            self._unlogged, self._logged_at = 0, now


class BearerAuth:
    """The tokens that open something: the admin token, or others too. Empty ones open nothing."""

    def __init__(self, *tokens: str, refusals: TokenFailures) -> None:
        self._tokens = [token.encode() for token in tokens if token]
        self._refusals = refusals

    def is_sent_with(self, request: Request) -> bool:
        """Whether the request carries a right token; raises RateLimited for a client with too many wrong ones."""
        header = request.headers.get("authorization")
        if header is None or not self._tokens:
            return False
        self._refusals.check(request)
        scheme, _, token = header.partition(" ")
        sent = token.strip().encode()
        if scheme.lower() == "bearer" and any(hmac.compare_digest(sent, right) for right in self._tokens):
            return True
        self._refusals.note(request)
        return False

    def authorize(self, request: Request) -> None:
        """Raises Unauthorized unless the request carries a right token."""
        if not self._tokens:
            raise Unauthorized("the admin API is off, because no ADSERVER_ADMIN_TOKEN is set")
        if not self.is_sent_with(request):
            raise Unauthorized("the admin token is missing or wrong")

    def protect(self, handler: Handler) -> Handler:
        """The handler, which only requests with a right token reach."""

        async def protect(request: Request) -> Response:
            self.authorize(request)
            return await handler(request)

        return protect


def network_of(address: str | None) -> str | None:
    """The network that an address is in, as the log may name it; None for what is no address."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return None
    return str(ip_network((ip, IPV4_PREFIX if ip.version == 4 else IPV6_PREFIX), strict=False))
