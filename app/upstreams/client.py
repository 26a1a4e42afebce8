"""One GET of one URL: deadline, redirects, size, and where it may go."""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
import httpx

from app.errors import UpstreamFailed
from app.upstreams.addresses import Network, is_literal
from app.upstreams.body import ACCEPT_ENCODING, read_body
from app.upstreams.charset import in_utf8
from app.upstreams.failures import FailureKind, http_failure
from app.upstreams.transport import open_transport

CONNECT_SHARE = 0.5
"""Part of an attempt's time in which the connection must stand: a black hole leaves time for one more upstream."""
POOL_SHARE = 0.75
"""Part of an attempt's time for a connection of the pool, whether it has to be made or waited for."""

NO_CONTENT = (httpx.codes.NO_CONTENT, httpx.codes.RESET_CONTENT)

HEADERS = {
    "Accept": "application/xml, text/xml, */*;q=0.1",
    "Accept-Encoding": ACCEPT_ENCODING,
    "User-Agent": "adserver",
}

Wrap = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]
"""What is put around each transport, such as tracing."""


def as_it_is(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Puts nothing around it."""
    return transport


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one GET, with all its redirects."""

    within_s: float
    max_body_bytes: int
    max_redirects: int


class UpstreamClient:
    """GETs documents. `tag` follows URLs that the operator wrote, `stranger` those found in somebody's document.

    Every connection must lead to a public address or into one of `allowed_networks`, but for a tag whose host is
    written as an address: what a name resolves to is decided by its DNS server, and may change.
    """

    def __init__(
        self,
        allowed_networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        wrap: Wrap = as_it_is,
    ) -> None:
        tls = tls or httpx.create_ssl_context()
        allowed = tuple(allowed_networks)
        self._open = wrap(open_transport(tls))
        self._open_fresh = wrap(open_transport(tls, fresh=True))
        self._guarded = wrap(open_transport(tls, allowed_networks=allowed))
        self._guarded_fresh = wrap(open_transport(tls, fresh=True, allowed_networks=allowed))

    async def tag(
        self, upstream_id: str, url: str, headers: Mapping[str, str], limits: Limits, *, fresh: bool = False
    ) -> bytes:
        """The body of a configured tag; `fresh` asks on a connection of its own.

        Raises UpstreamFailed, or its subclass NotAnswered when the connection failed before the answer began.
        """
        request = _request(upstream_id, url, headers, limits.within_s)
        if is_literal(request.url.host):
            transport = self._open_fresh if fresh else self._open
        else:
            transport = self._guarded_fresh if fresh else self._guarded
        return await self._get(upstream_id, transport, request, limits)

    async def stranger(self, upstream_id: str, url: str, headers: Mapping[str, str], limits: Limits) -> bytes:
        """The body of a URL that came in a document of `upstream_id`; raises as `tag` does."""
        request = _request(upstream_id, url, headers, limits.within_s)
        return await self._get(upstream_id, self._guarded, request, limits)

    async def _get(
        self, upstream_id: str, transport: httpx.AsyncBaseTransport, request: httpx.Request, limits: Limits
    ) -> bytes:
        try:
            async with asyncio.timeout(limits.within_s):
                return await self._follow(upstream_id, transport, request, limits)
        except TimeoutError as error:
            raise UpstreamFailed(upstream_id, FailureKind.TIMEOUT) from error

    async def _follow(
        self, upstream_id: str, transport: httpx.AsyncBaseTransport, request: httpx.Request, limits: Limits
    ) -> bytes:
        host = request.url.host
        for redirects in range(limits.max_redirects + 1):
            with _http_errors(upstream_id, answered=redirects > 0):
                response = await (transport if request.url.host == host else self._guarded).handle_async_request(
                    request
                )
            try:
                with _http_errors(upstream_id, answered=True):
                    if not response.has_redirect_location:
                        return await _read(upstream_id, response, limits.max_body_bytes)
                    request = _redirected(request, response)
            finally:
                await response.aclose()
        raise UpstreamFailed(upstream_id, FailureKind.REDIRECTS)

    async def aclose(self) -> None:
        """Closes every connection."""
        for transport in (self._open, self._open_fresh, self._guarded, self._guarded_fresh):
            await transport.aclose()


def _request(upstream_id: str, text: str, headers: Mapping[str, str], within_s: float) -> httpx.Request:
    """A request of the URL; raises UpstreamFailed for one that cannot be asked."""
    sent = {**HEADERS, **headers}
    with _http_errors(upstream_id, answered=False):
        url = httpx.URL(text)
        if url.userinfo:
            sent["Authorization"] = aiohttp.encode_basic_auth(url.username, url.password)
            url = url.copy_with(username=None, password=None)
    timeouts = {
        "connect": within_s * CONNECT_SHARE,
        "pool": within_s * POOL_SHARE,
        "read": within_s,
        "write": within_s,
    }
    with _http_errors(upstream_id, answered=False):
        return httpx.Request("GET", url, headers=sent, extensions={"timeout": timeouts})


def _redirected(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """The request that a redirect leads to; a password goes along only to where it was meant for."""
    url = request.url.join(response.headers["location"]).copy_with(username=None, password=None)
    headers = request.headers.copy()
    headers["Host"] = url.netloc.decode("ascii")
    if not _is_same_server(url, request.url):
        headers.pop("Authorization", None)
    return httpx.Request("GET", url, headers=headers, extensions=request.extensions)


def _is_same_server(url: httpx.URL, before: httpx.URL) -> bool:
    """The same origin, or the same host's https; default ports are None."""
    return (url.host, url.port) == (before.host, before.port) and url.scheme in (before.scheme, "https")


async def _read(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    """The body of an answer; a status of no content is how some ad servers say that they have no ad."""
    if response.status_code in NO_CONTENT:
        raise UpstreamFailed(upstream_id, FailureKind.NO_AD)
    if not response.is_success or response.status_code == httpx.codes.PARTIAL_CONTENT:
        raise UpstreamFailed(upstream_id, FailureKind.STATUS, str(response.status_code))
    body = await read_body(upstream_id, response, max_bytes)
    if not body.strip():
        raise UpstreamFailed(upstream_id, FailureKind.NO_AD)
    return in_utf8(body, response)


@contextmanager
def _http_errors(upstream_id: str, *, answered: bool) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError, UnicodeError) as error:
        raise http_failure(upstream_id, error, answered=answered) from error
