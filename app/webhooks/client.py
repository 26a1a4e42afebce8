"""One POST of an event, with limits on its time, its connections and its target address."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

import aiohttp
import httpx
from yarl import URL

from app.upstreams.addresses import ForbiddenAddressError, Network, guarded_socket_factory

CONNECTIONS_MAX = 16
"""Connections of a server process; each webhook has one attempt at a time."""

ACCEPTED = range(200, 300)


class AttemptFailedError(Exception):
    """The receiver did not accept the event; `outcome` is a fixed word for metrics."""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome


class WebhookClient:
    """Posts to public addresses and `allowed_networks` only; create it in the running event loop and close it.

    The address is checked where the socket is created, so a name that resolves to a private address a moment after
    another check is refused too. It follows no redirect and reads no body.
    """

    def __init__(self, allowed_networks: Sequence[Network], tls: ssl.SSLContext | None = None) -> None:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=tls or httpx.create_ssl_context(),
            socket_factory=guarded_socket_factory(tuple(allowed_networks)),
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
        """Post the body; raise AttemptFailedError unless the receiver accepts it in time."""
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._post(url, headers, body)
        except TimeoutError:
            raise AttemptFailedError("timeout", f"no response within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        if status not in ACCEPTED:
            raise AttemptFailedError("status", f"the response has status {status}")

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        response = await self._session.post(
            URL(url, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        # The connection is closed with the rest of the response unread.
        response.close()
        return response.status

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def _failure(error: Exception) -> AttemptFailedError:
    """Return the failure; its text has no URL, which may contain credentials."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddressError):
            return AttemptFailedError("address", "the URL leads to an address that is not public")
        cause = getattr(cause, "os_error", None) if isinstance(cause, aiohttp.ClientConnectorError) else cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return AttemptFailedError("connection", "the host name cannot be resolved")
    return AttemptFailedError("connection", type(error).__name__)
