"""What a server needs before machines other than this one can reach it: strong secrets, and an address for beacons."""

import re
import socket
from collections.abc import Iterator

from app.errors import MisconfiguredServer
from app.settings import Settings, http_url

SECRET_LENGTH_MIN = 16

PUBLISHED = ("changeme", "fortryingitoutonly", "onlyfortests", "secretfortests", "tokenfortests")
"""Parts of secrets from documentation, compose files and tests; in lower case, letters and digits only."""

ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of no machine (RFC 5737, RFC 3849), to which the default route leads."""


def require_strong_secrets(settings: Settings, *, makes_missing_key: bool = False) -> None:
    """Raises MisconfiguredServer, a line for each setting, if other machines can reach a server with weak secrets.

    `makes_missing_key` says that the server makes a secret key of its own if it is given none.
    """
    if settings.exposed_host is None:
        return
    key = settings.secret_key.get_secret_value()
    secrets = {
        "ADSERVER_SECRET_KEY": [] if makes_missing_key and not key else [key],
        "ADSERVER_RETIRED_SECRET_KEYS": [key.get_secret_value() for key in settings.retired_secret_keys],
        "ADSERVER_ADMIN_TOKEN": [settings.admin_token.get_secret_value()],
        "ADSERVER_STITCHER_TOKEN": [token] if (token := settings.stitcher_token.get_secret_value()) else [],
    }
    faults = [f"{name}: {fault}" for name, values in secrets.items() for fault in _faults(values)]
    if faults:
        needed = (
            f"a server that listens on {settings.exposed_host} needs at least {SECRET_LENGTH_MIN} characters that"
            " nobody else knows, such as those of `openssl rand -hex 32`"
        )
        raise MisconfiguredServer("\n".join(f"{fault}; {needed}" for fault in faults))


def with_reachable_public_url(settings: Settings) -> Settings:
    """The settings, with this machine's address as public URL if beacons would lead to a wildcard address."""
    if settings.public_url or not settings.listens_on_all_addresses:
        return settings
    return settings.model_copy(update={"public_url": http_url(_own_address(), settings.port)})


def _faults(secrets: list[str]) -> Iterator[str]:
    for secret in secrets:
        if not secret.strip():
            yield "must be set"
        elif len(secret.strip()) < SECRET_LENGTH_MIN:
            yield f"has fewer than {SECRET_LENGTH_MIN} characters"
        elif any(part in re.sub(r"[\W_]", "", secret).lower() for part in PUBLISHED):
            yield "is known from documentation or tests"


def _own_address() -> str:
    """The address from which this machine connects to others; its name if it has no network."""
    for family, elsewhere in ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((elsewhere, 9))  # A datagram socket sends nothing when it connects: see udp(7).
            except OSError:
                continue
            address: str = probe.getsockname()[0]
            return address
    return socket.gethostname()
