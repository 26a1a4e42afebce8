"""Signed beacon tokens. A token names a serve and an event, and has an expiry.

A token is base64url(payload) + "." + tag. The payload has the key id (1 byte), the expiry (4, Unix seconds), the day of
the serve (2, days since 1970), the slot (1), the request key (16) and the sealed subject: the campaign's id, and for a
click a zero byte and the destination. A keyed BLAKE2b hash over the payload has 64 bytes, eight of which are the tag of
one event. Two hashes therefore sign the tokens of all events, and no event's token reveals another's.

Viewers cannot read the subject. It is sealed as a keyed hash of the subject (6 bytes), followed by the subject XOR a
keystream derived from the key and that hash: a synthetic initialization vector, as in RFC 5297. Equal subjects have
equal seals, so each is sealed once and cached.

Tokens of releases that did not seal the subject have their own key ids, and are valid until they expire.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b, shake_256
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
NONCE_BYTES = 6
"""A multiple of three, so that base64 needs no padding. Two of 10,000 subjects share a nonce with a probability of
1 in 5,000,000."""
SUBJECTS_MAX = 10_000
"""Maximum number of cached seals of campaigns and destinations."""
TOKEN_LENGTH_MAX = 2 * URL_BYTES_MAX
"""Characters: a click token has a campaign's id and a destination, and base64 makes them a third longer."""

_TAG_PLACES = {event: divmod(index, TAGS_PER_HASH) for index, event in enumerate(Event)}
"""The hash, and the place in it, of each event's tag."""
_BLOCKS = max(block for block, _ in _TAG_PLACES.values()) + 1
_PERSONS = tuple(bytes([block]) for block in range(_BLOCKS))
_EVENTS = tuple(map(str, Event))
_split_tags = itemgetter(*(slice(2 * TAG_BYTES * n, 2 * TAG_BYTES * (n + 1)) for n in range(len(_EVENTS))))
"""Returns the tags of `_EVENTS` from the hexadecimal digits of all hashes."""


class ServeRef(NamedTuple):
    """The serve that a token refers to; `destination` is the URL that a click leads to."""

    request_key: UUID
    slot: int
    served_on: date
    expires_at: datetime
    campaign_id: str
    destination: str | None


class _Key(NamedTuple):
    """The keys derived from a secret."""

    id: int
    tag_key: bytes
    seal_key: bytes
    """Empty for tokens whose subject is not sealed."""


class TokenSigner:
    """Signs with the first secret, and verifies with any of them."""

    def __init__(self, secrets: Sequence[str], ttl_s: int) -> None:
        self._keys: dict[int, list[_Key]] = {}
        """By key id, which is one byte, so two secrets may share one."""
        for secret in secrets:
            for key in (_key(secret), _unsealed_key(secret)):
                self._keys.setdefault(key.id, []).append(key)
        self._newest = _key(secrets[0])
        self._hashes = tuple(blake2b(key=self._newest.tag_key, person=person) for person in _PERSONS)
        """Hashes that have absorbed the key already, which is a third of the work."""
        self._ttl = timedelta(seconds=ttl_s)
        self._stamped_at: datetime | None = None
        self._stamp = (0, 0)
        """Expiry and day of tokens for ads that were served at `_stamped_at`."""

    def sign_all(
        self, request_key: UUID, slot: int, served_at: datetime, campaign_id: str, destination: str | None = None
    ) -> dict[str, str]:
        """Return a token for each event, by its name; the click token leads to the destination only."""
        head = self._head(request_key, slot, served_at)
        head_text = _text(head)
        payload, text = _sealed(self._newest.seal_key, campaign_id)
        digits = ""
        for keyed in self._hashes:
            signing = keyed.copy()
            signing.update(head + payload)
            digits += signing.hexdigest()
        with_payload = f"{head_text}{text}.".__add__
        tokens = dict(zip(_EVENTS, map(with_payload, _split_tags(digits)), strict=True))
        if destination is not None:
            payload, text = _sealed(self._newest.seal_key, f"{campaign_id}\0{destination}")
            tag = _tag(self._newest.tag_key, head + payload, Event.CLICK)
            tokens[Event.CLICK] = f"{head_text}{text}.{tag.hex()}"
        return tokens

    def verify(self, token: str, event: Event, now: datetime) -> ServeRef | None:
        """Return the serve that the token refers to; None if it is forged, altered, for another event, or expired."""
        ref = self.read(token, event)
        return ref if ref is not None and ref.expires_at > now else None

    def read(self, token: str, event: Event) -> ServeRef | None:
        """Return the serve of a genuine token, even an expired one; None if forged, altered or for another event."""
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            return None
        text = token.partition(".")[0]
        try:
            payload = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            key_id, expires, day, slot, request_key = HEAD.unpack_from(payload)
        except (Base64Error, StructError, ValueError):
            return None
        # Compare the whole token, because base64 and hexadecimal can spell the same bytes in several ways.
        canonical = _text(payload)
        for key in self._keys.get(key_id, ()):
            if compare_digest(token, f"{canonical}.{_tag(key.tag_key, payload, event).hex()}"):
                break
        else:
            return None
        expires_at = datetime.fromtimestamp(expires, UTC)
        subject = payload[HEAD.size :]
        unsealed = _unsealed(key.seal_key, subject) if key.seal_key else subject
        campaign_id, _, destination = unsealed.decode().partition("\0")
        served_on = EPOCH + timedelta(days=day)
        return ServeRef(DriverUUID(request_key), slot, served_on, expires_at, campaign_id, destination or None)

    def _head(self, request_key: UUID, slot: int, served_at: datetime) -> bytes:
        if served_at is not self._stamped_at:
            # All ads of a group have the same time.
            self._stamped_at = served_at
            self._stamp = (int((served_at + self._ttl).timestamp()), (served_at.astimezone(UTC).date() - EPOCH).days)
        return HEAD.pack(self._newest.id, *self._stamp, slot, request_key.bytes)


@lru_cache(SUBJECTS_MAX)
def _sealed(seal_key: bytes, subject: str) -> tuple[bytes, str]:
    """Return the end of a payload, and its base64: the head before it has 24 bytes, which need no padding."""
    plain = subject.encode()
    nonce = blake2b(plain, digest_size=NONCE_BYTES, key=seal_key, person=b"nonce").digest()
    payload = nonce + _masked(seal_key, nonce, plain)
    return payload, _text(payload)


@lru_cache(SUBJECTS_MAX)
def _unsealed(seal_key: bytes, sealed: bytes) -> bytes:
    """Return the subject of a payload whose tag is valid."""
    return _masked(seal_key, sealed[:NONCE_BYTES], sealed[NONCE_BYTES:])


def _masked(seal_key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Return the text XOR the keystream; applied twice, it returns the text."""
    keystream = shake_256(seal_key + nonce).digest(len(text))
    return (int.from_bytes(text) ^ int.from_bytes(keystream)).to_bytes(len(text))


def _text(payload: bytes) -> str:
    return urlsafe_b64encode(payload).rstrip(b"=").decode()


def _key(secret: str) -> _Key:
    key_id = blake2b(secret.encode(), digest_size=1, person=b"sealed key id").digest()[0]
    tag_key, seal_key = (blake2b(secret.encode(), person=use).digest() for use in (b"sealed beacon", b"subject seal"))
    return _Key(key_id, tag_key, seal_key)


def _unsealed_key(secret: str) -> _Key:
    key_id = blake2b(secret.encode(), digest_size=1, person=b"key id").digest()[0]
    return _Key(key_id, blake2b(secret.encode(), person=b"beacon").digest(), b"")


def _tag(key: bytes, payload: bytes, event: Event) -> bytes:
    block, place = _TAG_PLACES[event]
    digest = blake2b(payload, key=key, person=_PERSONS[block]).digest()
    return digest[place * TAG_BYTES : (place + 1) * TAG_BYTES]
