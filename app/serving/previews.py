"""Previews: the document of one creative for those who have a signed link. A preview books and counts nothing.

A preview token is base64url(payload) + "." + tag. The payload has the key id (1 byte), the expiry (4, Unix seconds) and
the VAST version, the campaign's id and the creative's id, separated by zero bytes. The tag is a keyed BLAKE2b hash with
a key of its own, so that no preview token is a beacon token, and no beacon token a preview token.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception class
from typing import NamedTuple
from uuid import UUID

from app.domain import ID_LENGTH_MAX, Catalog, Creative, VastVersion
from app.errors import Gone, InvalidRequest, NotFound
from app.serving.keys import new_request_key
from app.serving.tokens import TokenSigner
from app.vast.own_ads import own_document

PREVIEW_TTL_S = 604_800
"""Lifetime of a link: a week, in which an advertiser may approve the creative."""

HEAD = Struct(">BI")
TAG_BYTES = 16
TOKEN_LENGTH_MAX = 16 * ID_LENGTH_MAX
"""Characters: two ids, of which a character has up to four bytes, and base64 makes them a third longer."""

NO_SERVE = UUID(int=0)
SERVED_AT = datetime.fromtimestamp(0, UTC)
"""The beacon tokens of a preview name no serve, and expired decades ago: they are answered and never counted."""


class PreviewRef(NamedTuple):
    """The creative that a link shows, and in which VAST version."""

    campaign_id: str
    creative_id: str
    version: VastVersion


class PreviewLink(NamedTuple):
    """A link to a preview, and when it expires."""

    url: str
    expires_at: datetime


class _Key(NamedTuple):
    id: int
    tag_key: bytes


class PreviewLinks:
    """Signs links with the first secret, and accepts those of any secret."""

    def __init__(self, secrets: Sequence[str], base_url: str) -> None:
        self._keys = [_key(secret) for secret in secrets]
        self._base_url = base_url

    def link(self, creative: Creative, version: VastVersion, now: datetime) -> PreviewLink:
        """Return a link that is valid for PREVIEW_TTL_S seconds."""
        key = self._keys[0]
        expires = int((now + timedelta(seconds=PREVIEW_TTL_S)).timestamp())
        subject = "\0".join((version, creative.campaign_id, creative.id))
        token = _token(key, HEAD.pack(key.id, expires) + subject.encode())
        return PreviewLink(f"{self._base_url}/preview?t={token}", datetime.fromtimestamp(expires, UTC))

    def read(self, token: str, now: datetime) -> PreviewRef:
        """Return what the link shows; raises InvalidRequest for a forged or altered token, Gone for an expired one."""
        payload = self._genuine_payload(token)
        _, expires = HEAD.unpack_from(payload)
        if expires <= now.timestamp():
            raise Gone("the preview has expired: make a new link")
        version, campaign_id, creative_id = payload[HEAD.size :].decode().split("\0")
        return PreviewRef(campaign_id, creative_id, VastVersion(version))

    def _genuine_payload(self, token: str) -> bytes:
        if len(token) <= TOKEN_LENGTH_MAX and token.isascii():
            text = token.partition(".")[0]
            try:
                payload = urlsafe_b64decode(text + "=" * (-len(text) % 4))
                key_id, _ = HEAD.unpack_from(payload)
            except (Base64Error, StructError, ValueError):
                payload, key_id = b"", -1
            # Compare the whole token, because base64 can spell the same bytes in several ways.
            if any(compare_digest(token, _token(key, payload)) for key in self._keys if key.id == key_id):
                return payload
        raise InvalidRequest("t", "must be the token of a preview link of this server")


class Previews:
    """Renders the documents of previews."""

    def __init__(self, signer: TokenSigner, base_url: str) -> None:
        self._signer = signer
        self._base_url = base_url

    def document(self, ref: PreviewRef, catalog: Catalog) -> bytes:
        """Return the creative's document as it is served, even if it is not served now. Raises NotFound."""
        creatives = catalog.creatives.get(ref.campaign_id, ())
        creative = next((item for item in creatives if item.id == ref.creative_id), None)
        if creative is None:
            raise NotFound("unknown creative id")
        advertiser = catalog.advertiser_name(catalog.campaigns[creative.campaign_id])
        template = own_document(creative, advertiser, ref.version, self._base_url)
        tokens = self._signer.sign_all(NO_SERVE, 0, SERVED_AT, creative.campaign_id, creative.click_through)
        # Some players skip an Ad whose id they have shown before.
        return template.render(tokens | {"ad_serving_id": f"preview-{new_request_key()}"})


def find_creative(catalog: Catalog, creative_id: str) -> Creative:
    """Return the creative, regardless of its status. Raises NotFound."""
    for creatives in catalog.creatives.values():
        for creative in creatives:
            if creative.id == creative_id:
                return creative
    raise NotFound("unknown creative id")


def _token(key: _Key, payload: bytes) -> str:
    text = urlsafe_b64encode(payload).rstrip(b"=").decode()
    return f"{text}.{blake2b(payload, key=key.tag_key, digest_size=TAG_BYTES).hexdigest()}"


def _key(secret: str) -> _Key:
    key_id = blake2b(secret.encode(), digest_size=1, person=b"preview key id").digest()[0]
    return _Key(key_id, blake2b(secret.encode(), person=b"preview").digest())
