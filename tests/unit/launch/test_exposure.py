"""Requirements of a server that other machines can reach."""

from typing import Any

import pytest

from app.errors import MisconfiguredServer
from app.launch.exposure import require_strong_secrets, with_reachable_public_url
from app.settings import Settings

STRONG = {"secret_key": "mKx0b2Q6sYfLw1Tz", "admin_token": "9vWnR4cH8eUjPq3D"}


def exposed(**values: Any) -> Settings:
    return Settings(**{"host": "0.0.0.0", **STRONG, **values})


def complaints(settings: Settings, *, makes_missing_key: bool = False) -> list[str]:
    """The lines that refuse the settings, without what is accepted instead."""
    try:
        require_strong_secrets(settings, makes_missing_key=makes_missing_key)
    except MisconfiguredServer as refusal:
        return [line.partition(";")[0] for line in str(refusal).splitlines()]
    return []


@pytest.mark.parametrize(
    ("host", "is_exposed"),
    [
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("localhost", False),
        ("LOCALHOST", False),
        ("0.0.0.0", True),
        ("::", True),
        ("0:0:0:0:0:0:0:0", True),
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("2001:db8::1", True),
        ("ads.example", True),
        ("localhost.example", True),
        ("0", True),
    ],
)
def test_only_an_address_of_loopback_may_have_weak_secrets(host: str, is_exposed: bool) -> None:
    assert bool(complaints(Settings(host=host, secret_key="weak"))) is is_exposed
    with_admin_port = Settings(secret_key="weak", admin_host=host, admin_port=8081)
    assert bool(complaints(with_admin_port)) is is_exposed


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("", "must be set"),
        ("a", "has fewer than 16 characters"),
        ("123456789012345", "has fewer than 16 characters"),
        ("change-me", "has fewer than 16 characters"),
        ("change-me-change-me", "is known from documentation or tests"),
        ("CHANGE_ME_IN_PRODUCTION", "is known from documentation or tests"),
        ("a-secret-for-tests", "is known from documentation or tests"),
        ("a-token-for-tests", "is known from documentation or tests"),
    ],
)
def test_a_weak_secret_is_named_with_what_is_wrong(secret: str, fault: str) -> None:
    assert complaints(exposed(secret_key=secret)) == [f"ADSERVER_SECRET_KEY: {fault}"]
    assert complaints(exposed(admin_token=secret)) == [f"ADSERVER_ADMIN_TOKEN: {fault}"]


@pytest.mark.parametrize("secret", ["for trying it out only", " " * 20, "    padded    with    "])
def test_a_weak_secret_may_have_spaces(secret: str) -> None:
    assert len(complaints(exposed(secret_key=secret))) == 1


@pytest.mark.parametrize("secret", ["mKx0b2Q6sYfLw1Tz", "8f14e45fceea167a5a36dedd4bea2543"])
def test_sixteen_characters_are_enough(secret: str) -> None:
    assert complaints(exposed(secret_key=secret, admin_token=secret)) == []


def test_every_retired_key_is_looked_at() -> None:
    settings = exposed(retired_secret_keys=("strong-enough-for-beacons", "short"))
    assert complaints(settings) == ["ADSERVER_RETIRED_SECRET_KEYS: has fewer than 16 characters"]


def test_a_line_for_each_setting_says_what_is_accepted() -> None:
    with pytest.raises(MisconfiguredServer) as refusal:
        require_strong_secrets(Settings(host="0.0.0.0", secret_key="weak"))
    assert str(refusal.value).splitlines() == [
        "ADSERVER_SECRET_KEY: has fewer than 16 characters; a server that listens on 0.0.0.0 needs at least 16"
        " characters that nobody else knows, such as those of `openssl rand -hex 32`",
        "ADSERVER_ADMIN_TOKEN: must be set; a server that listens on 0.0.0.0 needs at least 16"
        " characters that nobody else knows, such as those of `openssl rand -hex 32`",
    ]


def test_a_secret_is_never_repeated() -> None:
    with pytest.raises(MisconfiguredServer) as refusal:
        require_strong_secrets(exposed(secret_key="a-secret-for-tests", retired_secret_keys=("hunter2",)))
    assert "a-secret" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_key_that_the_server_makes_itself_need_not_be_set() -> None:
    assert complaints(exposed(secret_key=""), makes_missing_key=True) == []
    assert complaints(exposed(secret_key="weak"), makes_missing_key=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0:0::0"])
def test_beacons_never_lead_to_a_wildcard_address(host: str) -> None:
    base = with_reachable_public_url(Settings(host=host)).beacon_base_url
    assert base.startswith("http://")
    assert base.endswith(":8080")
    assert not any(f"/{wildcard}:" in base for wildcard in (host, f"[{host}]"))


@pytest.mark.parametrize(
    "settings",
    [Settings(host="0.0.0.0", public_url="https://ads.example"), Settings(host="192.0.2.1"), Settings()],
)
def test_a_public_url_and_other_hosts_stay_as_they_are(settings: Settings) -> None:
    assert with_reachable_public_url(settings) is settings
