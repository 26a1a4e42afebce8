"""Who is on the other side: the viewer's address and player, as far as whoever connected may be believed."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.requests import cookie_parser
from starlette.types import Scope

from app.errors import AdServerError
from app.serving.context import COOKIES
from app.web.query import check

Network = IPv4Network | IPv6Network
Headers = Mapping[bytes, bytes]
"""Of a request; of a header that came several times, the last."""

HEADER_LENGTH_MAX = 1024

MAPPED = "::ffff:"
"""How an IPv4 address begins where it came to a socket of IPv6 (RFC 4291 section 2.5.5.2)."""

_WITH_PORT = re.compile(rb"([\d.]+):\d+|\[(.+)\](?::\d+)?")
"""Some proxies say from which port the viewer came too, as RFC 7239 section 6 has it."""

COOKIE_PARAMETERS: Mapping[str, str] = {"uid": "user_id", "device_id": "device_id", "publisher_id": "publisher_id"}
"""Cookie, and the parameter that it stands in for where the query has none."""


class ClientReader:
    """Believes what a server says of its client from `trusted` networks only.

    A server-side stitcher says it with X-Device-IP and X-Device-User-Agent (VAST 4.2 section 1.2.4), a proxy with
    X-Forwarded-For.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted_host: dict[str, bool] = {}

    def read(self, peer: str | None, headers: Headers) -> tuple[str | None, str | None]:
        """The viewer's IP address and user agent; `peer` is the address of whoever connected."""
        user_agent = headers.get(b"user-agent")
        address = peer = None if peer is None else peer.removeprefix(MAPPED)
        if peer is not None and self._trusted and self.trusts(peer):
            told = headers.get(b"x-device-ip") or headers.get(b"x-forwarded-for", b"").rpartition(b",")[2]
            address = _address(told) or peer
            user_agent = headers.get(b"x-device-user-agent", user_agent)
        return address, user_agent[:HEADER_LENGTH_MAX].decode("latin-1") if user_agent else None

    def sender(self, peer: str | None, headers: Headers) -> str | None:
        """The address that the request came from, before all trusted proxies, whichever viewer it is for."""
        peer = None if peer is None else peer.removeprefix(MAPPED)
        if peer is None or not self.trusts(peer):
            return peer
        return _address(headers.get(b"x-forwarded-for", b"").rpartition(b",")[2]) or peer

    def trusts(self, host: str) -> bool:
        """Whether the address is in one of the trusted networks."""
        if not self._trusted:
            return False
        known = self._is_trusted_host.get(host)
        if known is None:
            address = _address(host.encode())
            known = address is not None and any(ip_address(address) in network for network in self._trusted)
            if len(self._is_trusted_host) > 10_000:
                self._is_trusted_host.clear()
            self._is_trusted_host[host] = known
        return known


def peer_of(scope: Scope) -> str | None:
    """The address of whoever connected, if there is one."""
    client = scope.get("client")
    return client[0] if client else None


def _address(raw: bytes) -> str | None:
    with_port = _WITH_PORT.fullmatch(raw.strip())
    bare = with_port[1] or with_port[2] if with_port else raw.strip()
    try:
        address = ip_address(bare.decode("ascii"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def read_cookies(headers: Headers) -> dict[str, str]:
    """The cookies that say who is watching; others, however odd, do not stand in their way."""
    raw = headers.get(b"cookie")
    if raw is None:
        return {}
    jar = cookie_parser(raw.decode("latin-1"))
    return {name: jar[name] for name in COOKIES if jar.get(name)}


def fill_from_cookies(values: dict[str, str], cookies: Mapping[str, str]) -> None:
    """Adds the parameters that cookies stand in for; a viewer whom the query names is not mixed with another."""
    named = "user_id" in values or "device_id" in values
    told = {
        parameter: cookies[cookie]
        for cookie, parameter in COOKIE_PARAMETERS.items()
        if cookie in cookies and parameter not in values and not (named and parameter != "publisher_id")
    }
    try:
        check(told)
    except AdServerError:
        return  # The player did not write its cookies into the URL: it cannot be told that they are wrong.
    values.update(told)
