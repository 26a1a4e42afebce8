"""The viewer behind a request: its address and user agent, as reported by trusted proxies, and its cookies."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.requests import cookie_parser

from app.domain import Client
from app.fast_path import FORWARDED, Headers
from app.serving.context import COOKIES
from app.web.addresses import MAPPED, first_address, parse_address
from app.web.parameters import read_parameter

Network = IPv4Network | IPv6Network

HEADER_LENGTH_MAX = 1024
ADDRESSES_MAX = 32
"""Number of addresses read from X-Forwarded-For, from its end."""

COOKIE_PARAMETERS: Mapping[str, str] = {"uid": "user_id", "device_id": "device_id", "publisher_id": "publisher_id"}
"""Cookie, and the parameter that it provides if the query has none."""


class ClientReader:
    """Reads the viewer's address and user agent from headers, which count only from `trusted` networks.

    A server-side stitcher sends X-Device-IP and X-Device-User-Agent (VAST 4.2 section 1.2.4). A proxy appends the
    address of its client to X-Forwarded-For, so the viewer is the last address that is not a trusted proxy.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted_host: dict[str, bool] = {}

    def read(self, peer: str | None, headers: Headers) -> Client:
        """Return the viewer's end of a request; `peer` is the address of the connection's other end."""
        user_agent = headers.get(b"user-agent")
        language = headers.get(b"accept-language")
        address = peer = None if peer is None else peer.removeprefix(MAPPED)
        is_trusted = False
        if peer is not None and self._trusted and self.trusts(peer):
            sender = self._forwarded(headers) or peer
            is_trusted = sender is peer or self.trusts(sender)
            device_ip = headers.get(b"x-device-ip")
            address = (device_ip and first_address(device_ip.decode("latin-1"))) or sender
            user_agent = headers.get(b"x-device-user-agent") or user_agent
        return Client(address, _text(user_agent), _text(language), is_trusted, headers)

    def _forwarded(self, headers: Headers) -> str | None:
        """Return the last address of X-Forwarded-For that is not a trusted proxy's, or the first if all are."""
        address = None
        raw = headers.get(FORWARDED)
        if raw is None:
            return None
        forwarded = raw.decode("latin-1").rsplit(",", ADDRESSES_MAX)
        for item in reversed(forwarded[-ADDRESSES_MAX:]):
            address = parse_address(item)
            if address is None or not self.trusts(address):
                break
        return address

    def sender(self, peer: str | None, headers: Headers) -> str | None:
        """Return the address of the client in front of all trusted proxies, which may be a stitcher."""
        peer = None if peer is None else peer.removeprefix(MAPPED)
        if peer is None or not self.trusts(peer):
            return peer
        return self._forwarded(headers) or peer

    def trusts(self, host: str) -> bool:
        """Return whether the address is in one of the trusted networks."""
        if not self._trusted:
            return False
        is_trusted = self._is_trusted_host.get(host)
        if is_trusted is None:
            address = parse_address(host)
            is_trusted = address is not None and any(ip_address(address) in network for network in self._trusted)
            if len(self._is_trusted_host) > 10_000:
                self._is_trusted_host.clear()
            self._is_trusted_host[host] = is_trusted
        return is_trusted


def _text(raw: bytes | None) -> str | None:
    return raw[:HEADER_LENGTH_MAX].decode("latin-1") if raw else None


def read_cookies(headers: Headers) -> dict[str, str]:
    """Return the cookies that identify the viewer; invalid other cookies do not matter."""
    raw = headers.get(b"cookie")
    if raw is None:
        return {}
    jar = cookie_parser(raw.decode("latin-1"))
    return {name: jar[name] for name in COOKIES if jar.get(name)}


def fill_from_cookies(values: dict[str, str], cookies: Mapping[str, str]) -> None:
    """Add the parameters that cookies provide; if the query identifies the viewer, its cookies do not."""
    is_identified = "user_id" in values or "device_id" in values
    for cookie, parameter in COOKIE_PARAMETERS.items():
        if cookie in cookies and parameter not in values and not (is_identified and parameter != "publisher_id"):
            value = read_parameter(parameter, cookies[cookie])
            if value is not None:
                values[parameter] = value


def opts_out(headers: Headers) -> bool:
    """Return whether the browser sends Global Privacy Control (section 3.2 of its specification)."""
    return headers.get(b"sec-gpc") == b"1"


def fill_from_headers(values: dict[str, str], headers: Headers) -> None:
    """Set the parameter that a header overrides: an opt-out holds even if the query says otherwise."""
    if opts_out(headers):
        values["gpc"] = "1"
