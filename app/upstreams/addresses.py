"""The addresses that untrusted URLs and host names may lead to: public ones only, to prevent SSRF.

The check runs where the socket is created, so it sees the address that is actually connected to: a literal, every
address of a host name, a redirect's target, and a name that resolved to another address a moment ago.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only block of which IANA has allocated public addresses; `is_global` accepts some prefixes outside of it."""

SocketAddress = tuple[int, int, int, str, tuple[Any, ...]]
"""A result of getaddrinfo: family, type, protocol, canonical name, address."""


class ForbiddenAddressError(OSError):
    """The address is private, loopback, link-local or otherwise not public."""


def is_forbidden(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether connections to the address are forbidden; `allowed` are the operator's exceptions."""
    if any(address in network for network in allowed):
        return False
    embedded = _embedded_ipv4(address)
    if embedded is not None:
        return is_forbidden(embedded, allowed)
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return True
    return not address.is_global or address.is_multicast


def is_literal(host: str) -> bool:
    """Whether a URL's host is an IP address and not a host name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_forbidden_host(host: str, allowed: Sequence[Network]) -> bool:
    """Whether the host of a URL is an address, or a name of this machine, to which connections are forbidden.

    Any other name may lead anywhere, so its addresses are checked when the connection is made.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        name = "127.0.0.1"
    address = _literal_address(name.partition("%")[0])
    return address is not None and is_forbidden(address, allowed)


def _literal_address(host: str) -> Address | None:
    """Return the address that the host is, in any spelling that resolvers accept, such as `127.1`; None for a name."""
    with suppress(ValueError):
        return ip_address(host)
    with suppress(OSError, ValueError):
        return ip_address(socket.inet_aton(host))
    return None


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address to which packets for this IPv6 address may be translated."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def guarded_socket_factory(allowed: Sequence[Network]) -> Callable[[SocketAddress], socket.socket]:
    """Return a socket factory that raises ForbiddenAddressError for a forbidden address."""

    def make_socket(info: SocketAddress) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_forbidden(ip_address(address[0].partition("%")[0]), allowed):
            # The message omits the address: aiohttp keeps the errors of several addresses only if they are all equal.
            raise ForbiddenAddressError("not a public address")
        return socket.socket(family, kind, protocol)

    return make_socket
