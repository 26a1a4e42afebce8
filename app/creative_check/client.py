"""A request for one URL, to learn whether its server has the file, and with which type, size and headers."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp
import httpx
from yarl import URL

from app.upstreams.addresses import ForbiddenAddressError, Network, guarded_socket_factory
from app.upstreams.failures import NOT_ALLOWED

CONNECTIONS_MAX = 16
CONNECTIONS_PER_HOST_MAX = 4
REDIRECTS_MAX = 5
TIMEOUT_S = 10.0
"""Time limit of one URL, with all its redirects."""

ORIGIN = "https://player.example"
"""The origin of a page that no server knows, so that only those answer with CORS headers that admit all pages."""

HEADERS = {"User-Agent": "adserver", "Accept": "*/*", "Accept-Encoding": "identity", "Origin": ORIGIN}
FIRST_BYTES = {"Range": "bytes=0-1023"}
REDIRECTS = (301, 302, 303, 307, 308)
REFUSED = 400
"""The lowest status of a refusal; a server may refuse HEAD alone."""


class NoAnswerError(Exception):
    """The server of the URL gave no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a URL's server, without its body."""

    status: int
    urls: tuple[str, ...]
    """The URL, and those that it redirects to."""
    media_type: str | None = None
    size_bytes: int | None = None
    allows_all_origins: bool = False

    @property
    def is_found(self) -> bool:
        """Whether the server has what was asked for."""
        return self.status in (200, 206)


class FileClient:
    """Asks public addresses and `allowed_networks` only; create it in the running event loop and close it.

    The address is checked where the socket is created, for each redirect too. No body is read.
    """

    def __init__(
        self, allowed_networks: Sequence[Network] = (), tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            limit_per_host=CONNECTIONS_PER_HOST_MAX,
            ssl=tls or httpx.create_ssl_context(),
            socket_factory=guarded_socket_factory(tuple(allowed_networks)),
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._timeout_s = timeout_s

    async def ask(self, url: str) -> Answer:
        """Ask with HEAD, and with a GET of the first bytes if HEAD is refused or tells no size.

        Raises NoAnswerError.
        """
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._follow("HEAD", url, {})
                    is_complete = answer.status < REFUSED and answer.size_bytes
                    return answer if is_complete else await self._follow("GET", url, FIRST_BYTES)
            except TimeoutError:
                raise NoAnswerError(f"does not answer within {self._timeout_s:g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise NoAnswerError(_reason(error)) from error

    async def _follow(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        urls = [url]
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._session.request(
                method,
                URL(urls[-1], encoded=True),
                headers=HEADERS | headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
            # The connection is closed with the rest of the response unread.
            response.close()
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or location is None:
                return _answer(response, tuple(urls))
            urls.append(_redirect_target(urls[-1], location))
        raise NoAnswerError(f"redirects more than {REDIRECTS_MAX} times")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def _redirect_target(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(target).scheme not in ("http", "https"):
        raise NoAnswerError("redirects to a URL that is not http or https")
    return target


def _answer(response: aiohttp.ClientResponse, urls: tuple[str, ...]) -> Answer:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Answer(
        response.status,
        urls,
        media_type or None,
        _size_bytes(response),
        response.headers.get("Access-Control-Allow-Origin") in ("*", ORIGIN),
    )


def _size_bytes(response: aiohttp.ClientResponse) -> int | None:
    """Return the size of the whole file; in a partial response, it is at the end of Content-Range."""
    whole = response.headers.get("Content-Range", "").partition("/")[2]
    text = whole if response.status == 206 else response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _reason(error: Exception) -> str:
    """Return why there was no answer, without the URL, which may contain credentials."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ForbiddenAddressError):
        return f"leads to an address that is {NOT_ALLOWED}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "has a host name that cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return "has no valid TLS certificate, or does not speak TLS"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "is not a valid URL"
    return f"cannot be asked: {type(cause).__name__}"
