"""Change and read database URLs, which may have several hosts or none, without parsing their parameters' meaning."""

import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Parameters of libpq that are secret."""

PASSWORDS = re.compile(r"((?:^|&)(?:ssl)?password=)[^&]*")
"""Matches the parameters that are passwords; group 1 is all but the value."""


def split_hosts(url: str) -> list[str]:
    """Return one URL for each host, in their order."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return [_join(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]


def hide_password(url: str) -> str:
    """Return the URL with `***` for its passwords, for logs and messages."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    shown = f"{user}:***" if colon else user
    return _join(parts._replace(netloc=f"{shown}{at}{hosts}", query=PASSWORDS.sub(r"\1***", parts.query)))


def split_password(url: str) -> tuple[str, str | None]:
    """Return the URL without secrets, and its login password for PGPASSWORD, or None.

    Other secrets, such as the password of a certificate's key, are dropped: libpq has no variables for them.
    """
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    words = [word.partition("=") for word in parts.query.split("&") if word]
    named = [value for name, _, value in words if name == "password"]
    query = "&".join("".join(word) for word in words if word[0] not in SECRETS)
    found = [*named, *([password] if colon else [])]
    return _join(parts._replace(netloc=f"{user}{at}{hosts}", query=query)), unquote(found[0]) if found else None


def role_in_url(url: str) -> str:
    """Return the role of the URL, or an empty string."""
    parts = urlsplit(url)
    named = [word.partition("=")[2] for word in parts.query.split("&") if word.startswith("user=")]
    return unquote(named[0] if named else parts.netloc.rpartition("@")[0].partition(":")[0])


def with_role(url: str, role: str) -> str:
    """Return the URL of the same database for another role, without a password."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    options = (word for word in parts.query.split("&") if word.partition("=")[0] not in ("user", "password"))
    return _join(parts._replace(netloc=f"{role}@{hosts}", query="&".join(options)))


def with_database(url: str, database: str) -> str:
    """Return the URL of another database on the same server, for the same role."""
    return _join(urlsplit(url)._replace(path=f"/{quote(database, safe='')}"))


def _join(parts: SplitResult) -> str:
    """Join the parts of a URL; `urlunsplit` would drop the slashes before a missing host."""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"
