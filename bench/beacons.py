"""Impression beacons to send: serves whose price is held, made by the server's own statement, and their tokens."""

from itertools import count

from app.domain import Event
from app.serving.keys import new_request_key
from app.serving.tokens import TokenSigner
from app.store import spending
from bench.books import connected
from bench.scale import CAMPAIGNS

GROUP = 1000
TOKEN_TTL_S = 3600

numbers = count()


async def held_impressions(database_url: str, secret: str, wanted: int) -> list[str]:
    """The paths of so many beacons, each for an ad that was served and not yet seen.

    Raises RuntimeError if a budget has no room for one.
    """
    signer = TokenSigner([secret], TOKEN_TTL_S)
    paths: list[str] = []
    async with connected(database_url) as connection:
        while len(paths) < wanted:
            payments = [_payment() for _ in range(GROUP)]
            spent = await spending.spend(connection, payments)
            if spent.refusals:
                raise RuntimeError("an ad that was to be held has no room in its budget")
            for payment in payments:
                tokens = signer.sign_all(payment.request_key, payment.slot, spent.database_time, payment.campaign_id)
                paths.append(f"/event/{Event.IMPRESSION}?t={tokens[Event.IMPRESSION]}")
    return paths


def _payment() -> spending.Payment:
    campaign_id = f"seen{next(numbers) % CAMPAIGNS + 1}"
    return spending.Payment(
        request_key=new_request_key(),
        slot=0,
        campaign_id=campaign_id,
        creative_id=f"creative-of-{campaign_id}",
        upstream_id=None,
        placement_id=None,
        user_key=None,
        session_id=None,
        fingerprint=0,
    )
