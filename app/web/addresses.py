"""Parsing of IP addresses in the forms that proxies, stitchers and content delivery networks send."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

MAPPED = "::ffff:"
"""Prefix of an IPv4 client's address on a dual-stack socket (RFC 4291 section 2.5.5.2)."""

_SEPARATORS = re.compile(r"[\s,;]+")
_WITH_PORT = re.compile(r"([\d.]+):\d+|\[(.+)\](?::\d+)?", re.ASCII)
"""Some proxies add the viewer's port (RFC 7239 section 6)."""


def parse_address(text: str) -> str | None:
    """Return the address in canonical form without port, brackets, quotes and zone; None if it is not an address."""
    text = text.strip(' \t"')
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((with_port[1] or with_port[2] if with_port else text).partition("%")[0])
    except ValueError:
        return None
    if address.is_unspecified:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def first_address(text: str) -> str | None:
    """Return the first address of a list, or None. Proxies append theirs, so the first is the viewer's."""
    return next(_addresses(text), None)


def _addresses(text: str) -> Iterator[str]:
    for item in _SEPARATORS.split(text):
        address = parse_address(item)
        if address is not None:
            yield address
