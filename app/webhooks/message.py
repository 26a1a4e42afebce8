"""The body and the signature of a message, by the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping

import orjson

from app.store.outbox import Delivery

SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret


def message_body(delivery: Delivery) -> bytes:
    """Return the body, which is the same in every attempt."""
    return orjson.dumps({"type": delivery.event, "timestamp": delivery.created_at, "data": delivery.payload})


def message_headers(delivery: Delivery, body: bytes, sent_at: int) -> Mapping[str, str]:
    """Return the headers of an attempt at `sent_at` in Unix time; the id is the same in every attempt."""
    message_id = f"evt_{delivery.event_id}"
    return {
        "Content-Type": "application/json",
        "User-Agent": "adserver",
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(sent_at),
        "Webhook-Signature": f"v1,{_signature(delivery.secret, message_id, sent_at, body)}",
    }


def _signature(secret: str, message_id: str, sent_at: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{sent_at}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
