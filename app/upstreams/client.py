"""A GET of one URL with limits on its time, redirects, size and target addresses."""

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
from app.upstreams.charset import to_utf8
from app.upstreams.failures import FailureKind, http_failure
from app.upstreams.transport import open_transport

CONNECT_SHARE = 0.5
"""The fraction of an attempt's timeout for establishing a connection: a black hole leaves time for another upstream."""
POOL_SHARE = 0.75
"""The fraction of an attempt's timeout for getting a connection from the pool, new or idle."""

NO_CONTENT = (httpx.codes.NO_CONTENT, httpx.codes.RESET_CONTENT)

HEADERS = {
    "Accept": "application/xml, text/xml, */*;q=0.1",
    "Accept-Encoding": ACCEPT_ENCODING,
    "User-Agent": "adserver",
}

TransportWrapper = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]
"""Wraps each transport, for example with tracing."""


def no_wrapper(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return the transport unchanged."""
    return transport


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """The limits of one GET including its redirects."""

    timeout_s: float
    max_body_bytes: int
    max_redirects: int


class UpstreamClient:
    """GETs documents: `get_tag` from URLs that the operator configured, `get_untrusted` from URLs found in documents.

    Every connection must lead to a public address or into one of `allowed_networks`. The exception is a configured tag
    whose host is an IP address; a host name is checked, because its DNS server may change what it resolves to.
    """

    def __init__(
        self,
        allowed_networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        wrap: TransportWrapper = no_wrapper,
    ) -> None:
        tls = tls or httpx.create_ssl_context()
        allowed = tuple(allowed_networks)
        self._unguarded = wrap(open_transport(tls))
        self._unguarded_new = wrap(open_transport(tls, new_connections=True))
        self._guarded = wrap(open_transport(tls, allowed_networks=allowed))
        self._guarded_new = wrap(open_transport(tls, new_connections=True, allowed_networks=allowed))

    async def get_tag(
        self,
        upstream_id: str,
        url: str,
        headers: Mapping[str, str],
        limits: FetchLimits,
        *,
        new_connection: bool = False,
    ) -> bytes:
        """Return the body of a configured tag; with `new_connection`, do not use an idle connection.

        Raises UpstreamFailed, or its subclass NoResponse if the connection failed before the response began.
        """
        request = _request(upstream_id, url, headers, limits.timeout_s)
        if is_literal(request.url.host):
            transport = self._unguarded_new if new_connection else self._unguarded
        else:
            transport = self._guarded_new if new_connection else self._guarded
        return await self._get(upstream_id, transport, request, limits)

    async def get_untrusted(self, upstream_id: str, url: str, headers: Mapping[str, str], limits: FetchLimits) -> bytes:
        """Return the body of a URL that came in a document of `upstream_id`; raise as `get_tag` does."""
        request = _request(upstream_id, url, headers, limits.timeout_s)
        return await self._get(upstream_id, self._guarded, request, limits)

    async def _get(
        self, upstream_id: str, transport: httpx.AsyncBaseTransport, request: httpx.Request, limits: FetchLimits
    ) -> bytes:
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._follow(upstream_id, transport, request, limits)
        except TimeoutError as error:
            raise UpstreamFailed(upstream_id, FailureKind.TIMEOUT) from error

    async def _follow(
        self, upstream_id: str, transport: httpx.AsyncBaseTransport, request: httpx.Request, limits: FetchLimits
    ) -> bytes:
        host = request.url.host
        for redirects in range(limits.max_redirects + 1):
            with _translated_errors(upstream_id, response_began=redirects > 0):
                response = await (transport if request.url.host == host else self._guarded).handle_async_request(
                    request
                )
            try:
                with _translated_errors(upstream_id, response_began=True):
                    if not response.has_redirect_location:
                        return await _read(upstream_id, response, limits.max_body_bytes)
                    request = _redirected_request(request, response)
            finally:
                await response.aclose()
        raise UpstreamFailed(upstream_id, FailureKind.REDIRECTS)

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in (self._unguarded, self._unguarded_new, self._guarded, self._guarded_new):
            await transport.aclose()


def _request(upstream_id: str, url_text: str, headers: Mapping[str, str], timeout_s: float) -> httpx.Request:
    """Return a request for the URL; raise UpstreamFailed if the URL is invalid."""
    sent_headers = {**HEADERS, **headers}
    with _translated_errors(upstream_id, response_began=False):
        url = httpx.URL(url_text)
        if url.userinfo:
            sent_headers["Authorization"] = aiohttp.encode_basic_auth(url.username, url.password)
            url = url.copy_with(username=None, password=None)
    timeouts = {
        "connect": timeout_s * CONNECT_SHARE,
        "pool": timeout_s * POOL_SHARE,
        "read": timeout_s,
        "write": timeout_s,
    }
    with _translated_errors(upstream_id, response_began=False):
        return httpx.Request("GET", url, headers=sent_headers, extensions={"timeout": timeouts})


def _redirected_request(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """Return the request for a redirect's target; credentials are only sent to the server they were meant for."""
    url = request.url.join(response.headers["location"]).copy_with(username=None, password=None)
    headers = request.headers.copy()
    headers["Host"] = url.netloc.decode("ascii")
    if not _is_same_server(url, request.url):
        headers.pop("Authorization", None)
    return httpx.Request("GET", url, headers=headers, extensions=request.extensions)


def _is_same_server(url: httpx.URL, previous: httpx.URL) -> bool:
    """Whether both have the same origin, or `url` is the https URL of the same host; a default port is None."""
    return (url.host, url.port) == (previous.host, previous.port) and url.scheme in (previous.scheme, "https")


async def _read(upstream_id: str, response: httpx.Response, max_bytes: int) -> bytes:
    """Return the body of a response; some ad servers send status 204 or 205 if they have no ad."""
    if response.status_code in NO_CONTENT:
        raise UpstreamFailed(upstream_id, FailureKind.NO_AD)
    if not response.is_success or response.status_code == httpx.codes.PARTIAL_CONTENT:
        raise UpstreamFailed(upstream_id, FailureKind.STATUS, str(response.status_code))
    body = await read_body(upstream_id, response, max_bytes)
    if not body.strip():
        raise UpstreamFailed(upstream_id, FailureKind.NO_AD)
    return to_utf8(body, response)


@contextmanager
def _translated_errors(upstream_id: str, *, response_began: bool) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError, UnicodeError) as error:
        raise http_failure(upstream_id, error, response_began=response_began) from error
