"""httpx over aiohttp, as the upstream client needs it."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions
from yarl import URL

from app.domain import URL_BYTES_MAX
from app.upstreams.addresses import Network, guarded_socket

CONNECTIONS_MAX = 4096
"""Each client's; what one upstream may have is bounded by its own `max_in_flight`."""

SCHEMES = ("http", "https", "")
"""None stands in URLs that begin with `//`, as documents have them; they are asked over HTTP."""

HEADER_BYTES_MAX = URL_BYTES_MAX + 1024
"""A Location header may hold the longest URL there is; aiohttp's own limit is 8,190 bytes."""

KEEP_ALIVE_S = 30
DNS_CACHE_S = 30


class VerbatimTransport(AiohttpTransport):
    """Sends a GET once, to the URL exactly as it is written.

    The transport it extends lets yarl normalise the URL, which turns `%2F` in a query into a slash: a signed tag is
    then no longer the one that was signed.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request; raises httpx.TransportError with aiohttp's error as its cause.

        No error names the URL, which says who watches: traces keep what errors say.
        """
        if request.url.scheme not in SCHEMES or not request.url.host:
            raise httpx.UnsupportedProtocol("not a URL of HTTP")
        if not isinstance(self.client, aiohttp.ClientSession):
            self.client = self.get_client()
        timeout = request.extensions["timeout"]
        with map_aiohttp_exceptions(), _without_url():
            response = await self.client.get(
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout["pool"], sock_connect=timeout["connect"], sock_read=timeout["read"]
                ),
            )
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=AiohttpResponseStream(response),
            request=request,
            extensions={"http_version": b"HTTP/1.1"},
        )


@contextmanager
def _without_url() -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientResponseError as error:
        raise httpx.RemoteProtocolError(error.message) from error.__cause__


def _session(
    tls: ssl.SSLContext, fresh: bool, allowed_networks: Sequence[Network] | None
) -> Callable[[], aiohttp.ClientSession]:
    """Makes the session on first use, in the running loop; `allowed_networks` None means no guard."""

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=tls,
            ttl_dns_cache=DNS_CACHE_S,
            socket_factory=None if allowed_networks is None else guarded_socket(allowed_networks),
            **({"force_close": True} if fresh else {"keepalive_timeout": KEEP_ALIVE_S}),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        # aiohttp would repeat a GET whose connection broke; how often an upstream is asked is decided in one place.
        session._retry_connection = False
        return session

    return open_session


def open_transport(
    tls: ssl.SSLContext, *, fresh: bool = False, allowed_networks: Sequence[Network] | None = None
) -> httpx.AsyncBaseTransport:
    """A transport without cookies, redirects, and proxies from the environment.

    `fresh` gives every request a connection of its own; `allowed_networks`, unless it is None, puts the guard of
    app.upstreams.addresses before every connection.
    """
    return VerbatimTransport(verify=tls, client=_session(tls, fresh, allowed_networks))
