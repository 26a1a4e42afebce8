"""The driver's UUIDs and Python's are interchangeable, so that the driver's can be replaced."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from app.serving.keys import DriverUUID, new_request_key, request_key, user_key

KEY = b"k" * 32


@given(st.binary(min_size=16, max_size=16))
def test_a_drivers_uuid_is_a_uuid_with_the_same_value(raw: bytes) -> None:
    fast, plain = DriverUUID(raw), uuid.UUID(bytes=raw)
    assert isinstance(fast, uuid.UUID)
    assert (fast, hash(fast), str(fast), fast.bytes, fast.int) == (
        plain,
        hash(plain),
        str(plain),
        plain.bytes,
        plain.int,
    )
    assert DriverUUID(str(plain)) == plain


def test_keys_are_uuids() -> None:
    text = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert request_key(KEY, text) == uuid.UUID(text)
    assert new_request_key().version == 7
    assert user_key(KEY, "u") == uuid.UUID(bytes=user_key(KEY, "u").bytes)
