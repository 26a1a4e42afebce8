"""Keyed hashes, so that the database never holds a viewer's or a request's raw id.

Keys are UUIDs of the driver's own class, which makes and sends them several times faster than the standard one.
"""

import random
import time
from collections.abc import Mapping
from hashlib import blake2b
from struct import Struct
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811 - it is a class

KEY_BYTES_MAX = 64
"""BLAKE2b takes a key of at most 64 bytes (RFC 7693 section 2.1)."""


_HALVES = Struct(">QQ")
_RANDOM_BITS = 12 + 62


def hash_key(secret: str) -> bytes:
    """Return the key for the hashes below, from a secret of any length."""
    return blake2b(secret.encode(), digest_size=KEY_BYTES_MAX).digest()


def user_key(key: bytes, user_id: str) -> UUID:
    """Return 128 bits that identify a user."""
    return DriverUUID(blake2b(user_id.encode(), digest_size=16, key=key, person=b"user").digest())


def device_key(key: bytes, device_id: str) -> UUID:
    """Return 128 bits that identify a device, for requests without a user."""
    return DriverUUID(blake2b(device_id.encode(), digest_size=16, key=key, person=b"device").digest())


def request_key(key: bytes, request_id: str) -> UUID:
    """Return the request's own id if it is a UUID, or else 128 bits that identify it."""
    try:
        return DriverUUID(request_id)
    except ValueError:
        return DriverUUID(blake2b(request_id.encode(), digest_size=16, key=key, person=b"request").digest())


def fingerprint(values: Mapping[str, str]) -> int:
    """Return 64 signed bits over the parameters of a request except its id, independent of their order."""
    text = "\x00".join(f"{name}={values[name]}" for name in sorted(values) if name != "request_id")
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def new_request_key() -> UUID:
    """Return a UUID of version 7 (RFC 9562 section 5.7): keys made in sequence are adjacent in an index.

    It need not be hard to guess, because beacons are signed.
    """
    milliseconds = time.time_ns() // 1_000_000
    noise = random.getrandbits(_RANDOM_BITS)
    return DriverUUID(_HALVES.pack(milliseconds << 16 | 0x7000 | noise >> 62, 1 << 63 | noise & (1 << 62) - 1))
