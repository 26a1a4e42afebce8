"""The httpx transport over aiohttp that the upstream client uses."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream, map_aiohttp_exceptions
from yarl import URL

from app.domain import URL_BYTES_MAX
from app.upstreams.addresses import Network, guarded_socket_factory

CONNECTIONS_MAX = 4096
"""Per transport; the connections to one upstream are bounded by its `max_in_flight`."""

SCHEMES = ("http", "https", "")
"""URLs in documents that begin with `//` have no scheme; they are requested over HTTP."""

HEADER_BYTES_MAX = URL_BYTES_MAX + 1024
"""A Location header may contain the longest accepted URL; aiohttp's default limit is 8,190 bytes."""

KEEP_ALIVE_S = 30
DNS_CACHE_S = 30


class VerbatimTransport(AiohttpTransport):
    """Sends each GET once, to the URL exactly as it is written.

    The base class lets yarl normalize the URL, which turns `%2F` in a query into a slash and so invalidates the
    signature of a signed tag.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; raise httpx.TransportError with aiohttp's error as its cause.

        No error contains the URL, which may identify the viewer: traces record error messages.
        """
        if request.url.scheme not in SCHEMES or not request.url.host:
            raise httpx.UnsupportedProtocol("not an HTTP URL")
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


def _session_factory(
    tls: ssl.SSLContext, new_connections: bool, allowed_networks: Sequence[Network] | None
) -> Callable[[], aiohttp.ClientSession]:
    """Return a function that opens the session in the running loop; `allowed_networks` is None for no address check."""

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=tls,
            ttl_dns_cache=DNS_CACHE_S,
            socket_factory=None if allowed_networks is None else guarded_socket_factory(allowed_networks),
            **({"force_close": True} if new_connections else {"keepalive_timeout": KEEP_ALIVE_S}),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        # aiohttp would repeat a GET whose connection broke; retries are decided in requester.py alone.
        session._retry_connection = False
        return session

    return open_session


def open_transport(
    tls: ssl.SSLContext, *, new_connections: bool = False, allowed_networks: Sequence[Network] | None = None
) -> httpx.AsyncBaseTransport:
    """Return a transport without cookies, redirects and proxies from the environment.

    With `new_connections`, every request opens a new connection. Unless `allowed_networks` is None, every connection
    is checked by app.upstreams.addresses.
    """
    return VerbatimTransport(verify=tls, client=_session_factory(tls, new_connections, allowed_networks))
