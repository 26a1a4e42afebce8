"""Which addresses may be connected to when somebody else wrote the URL or resolves its name: not our own networks.

The check stands where the socket is made, so it sees the very address that is connected to: a literal, a name's
every address, a redirect's target, and a name that resolved to something else a moment ago.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out of public addresses. `is_global` takes some of the prefixes beside it for public."""

SocketAddress = tuple[int, int, int, str, tuple[Any, ...]]
"""What getaddrinfo gives: family, type, protocol, canonical name, address."""


class ForbiddenAddressError(OSError):
    """The address is on a private, loopback, link-local or otherwise not public network."""


def is_forbidden(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether connecting there is refused; `allowed` is the operator's list of exceptions."""
    if any(address in network for network in allowed):
        return False
    inner = _embedded_ipv4(address)
    if inner is not None:
        return is_forbidden(inner, allowed)
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return True
    return not address.is_global or address.is_multicast


def is_literal(host: str) -> bool:
    """Whether a URL's host is an address, and no name that somebody else resolves."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address may end up at."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def guarded_socket(allowed: Sequence[Network]) -> Callable[[SocketAddress], socket.socket]:
    """A socket factory that raises ForbiddenAddressError instead of making a socket for a forbidden address."""

    def make_socket(info: SocketAddress) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_forbidden(ip_address(address[0].partition("%")[0]), allowed):
            # Without the address: of a name's errors only those that all say the same come through as they are.
            raise ForbiddenAddressError("not a public address")
        return socket.socket(family, kind, protocol)

    return make_socket
