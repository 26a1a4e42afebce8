"""Requirements of a server that other machines can reach: strong secrets, and an address for beacons."""

import re
import socket
from collections.abc import Iterator

from app.errors import MisconfiguredServer
from app.settings import Settings, http_url

SECRET_LENGTH_MIN = 16

PUBLISHED_SECRETS = ("changeme", "fortryingitoutonly", "onlyfortests", "secretfortests", "tokenfortests")
"""Parts of secrets in documentation, compose files and tests: only their letters and digits, in lower case."""

UNUSED_ADDRESSES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses (RFC 5737, RFC 3849): no machine has them, and the default route leads to them."""


def require_strong_secrets(settings: Settings, *, makes_missing_key: bool = False) -> None:
    """Raise MisconfiguredServer, with a line for each setting, if other machines can reach a server with weak secrets.

    With `makes_missing_key` the secret key may be unset, because the server creates one.
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
    """Return the settings, with this machine's address as public URL if beacons would have a wildcard address."""
    if settings.public_url or not settings.listens_on_all_addresses:
        return settings
    return settings.model_copy(update={"public_url": http_url(_own_address(), settings.port)})


def _faults(secrets: list[str]) -> Iterator[str]:
    for secret in secrets:
        if not secret.strip():
            yield "must be set"
        elif len(secret.strip()) < SECRET_LENGTH_MIN:
            yield f"has fewer than {SECRET_LENGTH_MIN} characters"
        elif any(part in re.sub(r"[\W_]", "", secret).lower() for part in PUBLISHED_SECRETS):
            yield "is known from documentation or tests"


def _own_address() -> str:
    """Return the address from which this machine connects to others, or its name if it has no network."""
    for family, address in UNUSED_ADDRESSES:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))  # Connecting a datagram socket sends nothing; see udp(7).
            except OSError:
                continue
            own_address: str = probe.getsockname()[0]
            return own_address
    return socket.gethostname()
