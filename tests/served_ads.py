"""The Ads of an answer as serves: each carries our token once, and no two the same serve."""

from base64 import urlsafe_b64decode
from uuid import UUID

from asyncpg import Connection, Record
from lxml import etree

from app.serving.tokens import HEAD

Serve = tuple[UUID, int]
"""Request key and slot."""

OUR_IMPRESSION = "/event/impression?t="
KNOWN = "SELECT request_key, slot FROM ad_serves WHERE request_key = ANY ($1)"


def ads_of(document: bytes) -> list[etree._Element]:
    """The Ads as a player looks for them, in a VAST or a VMAP document."""
    return [found for found in etree.fromstring(document).iter(etree.Element) if etree.QName(found).localname == "Ad"]


def serves_of(document: bytes) -> list[Serve]:
    """The serve that each Ad belongs to; raises AssertionError unless every Ad has one of its own."""
    serves = [_serve(ad) for ad in ads_of(document)]
    assert len(serves) == len(set(serves)), f"two Ads are one serve\n{document.decode()}"
    return serves


async def assert_booked(connection: "Connection[Record]", serves: set[Serve]) -> None:
    """Raises AssertionError unless there is a row of each serve."""
    rows = await connection.fetch(KNOWN, list({request_key for request_key, _ in serves}))
    missing = serves - {(row["request_key"], row["slot"]) for row in rows}
    assert not missing, f"{len(missing)} Ads were handed out that are not in ad_serves"


def _serve(ad: etree._Element) -> Serve:
    # In VAST 1 an Impression has URL elements.
    texts = [found.text or "" for found in ad.iter("{*}Impression", "{*}URL")]
    tokens = {text.partition("?t=")[2] for text in texts if OUR_IMPRESSION in text}
    assert len(tokens) == 1, f"an Ad has {len(tokens)} of our impressions"
    payload = urlsafe_b64decode(tokens.pop().partition(".")[0] + "==")
    _, _, _, slot, request_key = HEAD.unpack_from(payload)
    return UUID(bytes=request_key), slot
