"""Who is on the other side: the viewer's address and player, as far as whoever connected may be believed."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.requests import cookie_parser

from app.fast_path import FORWARDED, Headers
from app.serving.context import COOKIES
from app.web.addresses import MAPPED, address_of, first_address
from app.web.parameters import read_parameter

Network = IPv4Network | IPv6Network

HEADER_LENGTH_MAX = 1024
ADDRESSES_MAX = 32
"""Of X-Forwarded-For, looked at from its end."""

COOKIE_PARAMETERS: Mapping[str, str] = {"uid": "user_id", "device_id": "device_id", "publisher_id": "publisher_id"}
"""Cookie, and the parameter that it stands in for where the query has none."""


class ClientReader:
    """Believes what a server says of its client from `trusted` networks only.

    A server-side stitcher says it with X-Device-IP and X-Device-User-Agent (VAST 4.2 section 1.2.4), a proxy with
    X-Forwarded-For: every proxy adds who connected to it, so that the viewer is the last address that is no proxy.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted_host: dict[str, bool] = {}

    def read(self, peer: str | None, headers: Headers) -> tuple[str | None, str | None]:
        """The viewer's IP address and user agent; `peer` is the address of whoever connected."""
        user_agent = headers.get(b"user-agent")
        address = peer = None if peer is None else peer.removeprefix(MAPPED)
        if peer is not None and self._trusted and self.trusts(peer):
            address = self._viewer(headers) or peer
            user_agent = headers.get(b"x-device-user-agent") or user_agent
        return address, _text(user_agent)

    def _viewer(self, headers: Headers) -> str | None:
        """The address that the headers of a trusted network tell; None if they tell none that can be read."""
        told = first_address(headers.get(b"x-device-ip", b"").decode("latin-1"))
        if told is not None:
            return told
        return self._forwarded(headers)

    def _forwarded(self, headers: Headers) -> str | None:
        """The last address of X-Forwarded-For that is no trusted proxy's, or the first if all are."""
        address = None
        forwarded = headers.get(FORWARDED, b"").decode("latin-1").rsplit(",", ADDRESSES_MAX)
        for item in reversed(forwarded[-ADDRESSES_MAX:]):
            address = address_of(item)
            if address is None or not self.trusts(address):
                break
        return address

    def sender(self, peer: str | None, headers: Headers) -> str | None:
        """The address that the request came from, before all trusted proxies, whichever viewer it is for."""
        peer = None if peer is None else peer.removeprefix(MAPPED)
        if peer is None or not self.trusts(peer):
            return peer
        return self._forwarded(headers) or peer

    def trusts(self, host: str) -> bool:
        """Whether the address is in one of the trusted networks."""
        if not self._trusted:
            return False
        known = self._is_trusted_host.get(host)
        if known is None:
            address = address_of(host)
            known = address is not None and any(ip_address(address) in network for network in self._trusted)
            if len(self._is_trusted_host) > 10_000:
                self._is_trusted_host.clear()
            self._is_trusted_host[host] = known
        return known


def _text(raw: bytes | None) -> str | None:
    return raw[:HEADER_LENGTH_MAX].decode("latin-1") if raw else None


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
    for cookie, parameter in COOKIE_PARAMETERS.items():
        if cookie in cookies and parameter not in values and not (named and parameter != "publisher_id"):
            value = read_parameter(parameter, cookies[cookie])
            if value is not None:
                values[parameter] = value


def opts_out(headers: Headers) -> bool:
    """Whether the viewer's browser sends Global Privacy Control (section 3.2 of its specification)."""
    return headers.get(b"sec-gpc") == b"1"


def fill_from_headers(values: dict[str, str], headers: Headers) -> None:
    """Adds the parameter that a header replaces: an opt-out holds, whatever the query says."""
    if opts_out(headers):
        values["gpc"] = "1"
