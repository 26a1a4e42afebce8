"""Settings from the environment, and the lines about invalid ones."""

import os

import pytest
from structlog.testing import capture_logs

from app.errors import MisconfiguredServer
from app.launch.env_settings import settings_from_environment, warn_about_ignored
from app.settings import Settings

REASON = "must be an http or https URL with a host and without spaces, query or fragment"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ADSERVER_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("public_url", "reason"),
    [
        ("ads.example", REASON),
        ("//ads.example", REASON),
        ("localhost:8080", REASON),
        ("ftp://ads.example", REASON),
        ("https://", REASON),
        ("https://:8080", REASON),
        ("https:ads.example", REASON),
        ("https://ads.example?", REASON),
        ("https://ads.example/?a=b", REASON),
        ("https://ads.example/#top", REASON),
        ("https://ads.example ", REASON),
        ("https://ads.example:0", REASON),
        ("https://ads.example:99999", "Port out of range 0-65535"),
        ("https://[::1", "Invalid IPv6 URL"),
    ],
)
def test_a_public_url_that_no_path_can_follow_is_refused(
    public_url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSERVER_PUBLIC_URL", public_url)
    with pytest.raises(MisconfiguredServer) as refusal:
        settings_from_environment()
    assert str(refusal.value) == f"ADSERVER_PUBLIC_URL: {reason}"


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("CLIENT_REQUESTS_PER_S", "-1", "Input should be greater than or equal to 0"),
        ("CLIENT_REQUESTS_PER_S", "many", "Input should be a valid integer, unable to parse string as an integer"),
        ("CLIENT_REQUESTS_PER_S", "1.5", "Input should be a valid integer, unable to parse string as an integer"),
        ("CLIENT_REQUESTS_PER_S", "1000001", "Input should be less than or equal to 1000000"),
        ("UNLIMITED_NETWORKS", "10.0.0.0/8,office", "'office' does not appear to be an IPv4 or IPv6 network"),
        ("UNLIMITED_NETWORKS", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("STITCHER_TOKEN", "two words", "must be ASCII without spaces or control characters"),
    ],
)
def test_a_limit_of_clients_that_cannot_work_is_refused(
    setting: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ADSERVER_{setting}", value)
    with pytest.raises(MisconfiguredServer) as refusal:
        settings_from_environment()
    assert str(refusal.value) == f"ADSERVER_{setting}: {reason}"


@pytest.mark.parametrize(
    ("public_url", "base_url"),
    [
        ("https://ads.example", "https://ads.example"),
        ("HTTP://ads.example:8080/", "HTTP://ads.example:8080"),
        ("https://example.com/ads/", "https://example.com/ads"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_beacons_begin_with_the_public_url(public_url: str, base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSERVER_PUBLIC_URL", public_url)
    assert settings_from_environment().beacon_base_url == base_url


@pytest.mark.parametrize(
    ("host", "base_url"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("ads.example", "http://ads.example:8080"), ("::", "http://[::]:8080")],
)
def test_without_a_public_url_beacons_lead_to_the_address_that_is_listened_on(
    host: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSERVER_HOST", host)
    assert settings_from_environment().beacon_base_url == base_url


@pytest.mark.parametrize(
    ("database_url", "reason"),
    [
        ("mysql://h/db", "must begin with postgresql:// or postgres://"),
        ("host=h dbname=db", "must begin with postgresql:// or postgres://"),
        ("postgresql://h:abc/db", "is not a valid URL"),
        ("postgresql://[::1/db", "is not a valid URL"),
        ("postgresql://h1:1,h2:abc/db", "is not a valid URL"),
        ("postgresql://u:p[w@h/db", "is not a valid URL"),
        ("postgresql://u:p/w@h/db", "is not a valid URL"),
        ("postgresql://h/db?connect_timeout=soon", "connect_timeout: must be an integer"),
        ("postgresql://h/db?keepalives_idle=1s", "keepalives_idle: must be an integer"),
        ("postgresql://h/db?port=five", "port: must be a number"),
        ("postgresql://h/db?pgbouncer=perhaps", "pgbouncer: must be true or false"),
        ("postgresql://h/db?ssl=perhaps", "ssl: must be true, false or a value of sslmode"),
        ("postgresql://h/db?channel_binding=no", "channel_binding: must be one of disable, prefer, require"),
        ("postgresql://h/db?gssencmode=require", "gssencmode: must be one of disable, prefer"),
        ("postgresql://h/db?sslrootcert=/nowhere/ca.pem", "sslrootcert: the file does not exist"),
        (
            "postgresql://h/db?sslmode=require&sslrootcert=system",
            "sslmode: must be verify-full with sslrootcert=system",
        ),
        (
            "postgresql://h/db?sslmode=on",
            "sslmode: must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "postgresql://h/db?target_session_attrs=master",
            "target_session_attrs: must be one of any, read-write, read-only, primary, standby, prefer-standby",
        ),
    ],
)
def test_a_database_url_that_cannot_be_read_is_refused_without_repeating_it(
    database_url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSERVER_DATABASE_URL", database_url)
    with pytest.raises(MisconfiguredServer) as refusal:
        settings_from_environment()
    assert str(refusal.value) == f"ADSERVER_DATABASE_URL: {reason}"


def test_a_database_url_may_name_the_hosts_of_primary_and_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://u:p@h1:5432,[::1]:5433/db?target_session_attrs=primary"
    monkeypatch.setenv("ADSERVER_DATABASE_URL", url)
    assert settings_from_environment().database_url == url


@pytest.mark.parametrize(
    ("networks", "reason"),
    [
        ("192.0.2.0/24, 10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("192.0.2.0/24,proxy.example", "'proxy.example' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_network_that_is_none_is_told_from_the_others_of_its_list(
    networks: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSERVER_TRUSTED_PROXIES", networks)
    with pytest.raises(MisconfiguredServer) as refusal:
        settings_from_environment()
    assert str(refusal.value) == f"ADSERVER_TRUSTED_PROXIES: {reason}"


@pytest.mark.parametrize("token", ["token\n", " token", "to ken", "schl\u00fcssel", "to\x7fken"])
def test_an_admin_token_that_no_header_can_carry_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSERVER_ADMIN_TOKEN", token)
    with pytest.raises(MisconfiguredServer) as refusal:
        settings_from_environment()
    assert str(refusal.value) == ("ADSERVER_ADMIN_TOKEN: must be ASCII without spaces or control characters")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_variable_that_is_empty_is_as_good_as_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = settings_from_environment()
    monkeypatch.setenv(f"ADSERVER_{name.upper()}", "")
    assert settings_from_environment() == unset


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ADSERVER_SECERT_KEY", "ADSERVER_SECRET_KEY"),
        ("ADSERVER_LOCK_TIMEOUT", "ADSERVER_LOCK_TIMEOUT_MS"),
        ("adserver_admintoken", "ADSERVER_ADMIN_TOKEN"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_setting_next_to_it(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    monkeypatch.setenv("ADSERVER_PORT", "8081")
    with capture_logs() as lines:
        warn_about_ignored(settings_from_environment())
    assert lines == [
        {"event": "unknown_setting_ignored", "setting": name, "nearest": nearest, "log_level": "warning"},
    ]


def test_parameters_of_the_url_that_change_nothing_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "ADSERVER_DATABASE_URL",
        "postgres://u:p@h/db?sslmode=require&channel_binding=require&connect_timeout=9&connection_limit=5&schema=x",
    )
    with capture_logs() as lines:
        warn_about_ignored(settings_from_environment())
    assert [line["parameters"] for line in lines] == ["channel_binding, connection_limit, schema"]
