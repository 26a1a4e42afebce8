"""Signed beacon tokens: which serve, which event, until when.

A token is base64url(payload) + "." + tag. The payload is key id (1 byte), expiry (4, Unix seconds), day of the
serve (2, days since 1970), slot (1), request key (16), and then the campaign's id; for a click a zero byte and the
destination follow. One keyed BLAKE2b over the payload gives 64 bytes; each event has eight of its own (a second hash
makes more), so that a whole document is signed with two hashes, and no event's token says anything of another's.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception class
from typing import NamedTuple
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811 - it is a class

from app.domain import URL_BYTES_MAX, Event

HEAD = Struct(">BIHB16s")
TAG_BYTES = 8
TAGS_PER_HASH = 8
EPOCH = date(1970, 1, 1)
SUBJECTS_MAX = 10_000
"""Campaigns and their destinations, whose base64 is kept."""
TOKEN_LENGTH_MAX = 2 * URL_BYTES_MAX
"""Characters: a click token carries its destination in base64, which is a third longer, and a campaign's id."""

_TAG_AT = {event: divmod(no, TAGS_PER_HASH) for no, event in enumerate(Event)}
_BLOCKS = max(block for block, _ in _TAG_AT.values()) + 1
_PERSONS = tuple(bytes([block]) for block in range(_BLOCKS))
_EVENTS = tuple(map(str, Event))
_cut_tags = itemgetter(*(slice(2 * TAG_BYTES * no, 2 * TAG_BYTES * (no + 1)) for no in range(len(_EVENTS))))
"""Takes the tags of `_EVENTS` out of the hexadecimal digits of all hashes."""


class ServeRef(NamedTuple):
    """What a token refers to; `destination` is where a click leads."""

    request_key: UUID
    slot: int
    served_on: date
    expires_at: datetime
    campaign_id: str
    destination: str | None


class TokenSigner:
    """Signs with the newest key; verifies with any of them."""

    def __init__(self, secrets: Sequence[str], ttl_s: int) -> None:
        self._keys: dict[int, list[bytes]] = {}
        """By id, which is a byte: two secrets may have the same."""
        for secret in secrets:
            self._keys.setdefault(_key_id(secret), []).append(_key(secret))
        self._newest, self._newest_key = _key_id(secrets[0]), _key(secrets[0])
        self._hashes = tuple(blake2b(key=self._newest_key, person=person) for person in _PERSONS)
        """With the key in them already, which is a third of the work."""
        self._ttl = timedelta(seconds=ttl_s)
        self._stamped: datetime | None = None
        self._stamp = (0, 0)
        """Expiry and day of the tokens of ads that were served at `_stamped`."""

    def sign_all(
        self, request_key: UUID, slot: int, served_at: datetime, campaign_id: str, destination: str | None = None
    ) -> dict[str, str]:
        """A token for every event, by its name; the click's leads to the destination and to nowhere else."""
        head = self._head(request_key, slot, served_at)
        head_text = _text(head)
        payload, text = _subject(campaign_id)
        digits = ""
        for keyed in self._hashes:
            signing = keyed.copy()
            signing.update(head + payload)
            digits += signing.hexdigest()
        with_payload = f"{head_text}{text}.".__add__
        tokens = dict(zip(_EVENTS, map(with_payload, _cut_tags(digits)), strict=True))
        if destination is not None:
            payload, text = _subject(f"{campaign_id}\0{destination}")
            tokens[Event.CLICK] = f"{head_text}{text}.{_tag(self._newest_key, head + payload, Event.CLICK).hex()}"
        return tokens

    def verify(self, token: str, event: Event, now: datetime) -> ServeRef | None:
        """What the token refers to; None if it is forged, altered, for another event, or expired."""
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            return None
        text = token.partition(".")[0]
        try:
            payload = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            key_id, expires, day, slot, request_key = HEAD.unpack_from(payload)
            subject = payload[HEAD.size :].decode()
        except (Base64Error, StructError, ValueError):
            return None
        # The whole token is compared, because base64 and hexadecimal have several spellings of the same bytes.
        spelled = (f"{_text(payload)}.{_tag(key, payload, event).hex()}" for key in self._keys.get(key_id, ()))
        if not any(compare_digest(token, right) for right in spelled):
            return None
        expires_at = datetime.fromtimestamp(expires, UTC)
        if expires_at <= now:
            return None
        campaign_id, _, destination = subject.partition("\0")
        served_on = EPOCH + timedelta(days=day)
        return ServeRef(DriverUUID(request_key), slot, served_on, expires_at, campaign_id, destination or None)

    def _head(self, request_key: UUID, slot: int, served_at: datetime) -> bytes:
        if served_at is not self._stamped:
            # All ads of a group were served at the same moment.
            self._stamped = served_at
            self._stamp = (int((served_at + self._ttl).timestamp()), (served_at.astimezone(UTC).date() - EPOCH).days)
        return HEAD.pack(self._newest, *self._stamp, slot, request_key.bytes)


@lru_cache(SUBJECTS_MAX)
def _subject(subject: str) -> tuple[bytes, str]:
    """The end of a payload, and its base64: the head before it has 24 bytes, which are 32 characters and no rest."""
    payload = subject.encode()
    return payload, _text(payload)


def _text(payload: bytes) -> str:
    return urlsafe_b64encode(payload).rstrip(b"=").decode()


def _key(secret: str) -> bytes:
    return blake2b(secret.encode(), person=b"beacon").digest()


def _key_id(secret: str) -> int:
    return blake2b(secret.encode(), digest_size=1, person=b"key id").digest()[0]


def _tag(key: bytes, payload: bytes, event: Event) -> bytes:
    block, at = _TAG_AT[event]
    digest = blake2b(payload, key=key, person=_PERSONS[block]).digest()
    return digest[at * TAG_BYTES : (at + 1) * TAG_BYTES]
