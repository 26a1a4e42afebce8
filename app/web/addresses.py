"""IP addresses as proxies, stitchers and content delivery networks write them."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

MAPPED = "::ffff:"
"""How an IPv4 address begins where it came to a socket of IPv6 (RFC 4291 section 2.5.5.2)."""

_SEPARATORS = re.compile(r"[\s,;]+")
_WITH_PORT = re.compile(r"([\d.]+):\d+|\[(.+)\](?::\d+)?", re.ASCII)
"""Some proxies say from which port the viewer came too, as RFC 7239 section 6 has it."""


def address_of(text: str) -> str | None:
    """The address in its usual form, without port, brackets, quotes and zone; None if there is none."""
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
    """The first address of a list, which is the viewer's where proxies have added their own; None if there is none."""
    return next(_addresses(text), None)


def _addresses(text: str) -> Iterator[str]:
    for item in _SEPARATORS.split(text):
        address = address_of(item)
        if address is not None:
            yield address
