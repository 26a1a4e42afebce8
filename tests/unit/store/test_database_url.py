"""Database URLs: hidden passwords, and URLs for another role or database."""

import pytest

from app.store.database_url import hide_password, role_in_url, split_hosts, split_password, with_database, with_role


def test_each_host_has_a_url() -> None:
    assert split_hosts("postgresql://u:p@h1:1,[::1]:2/db?a=b") == [
        "postgresql://u:p@h1:1/db?a=b",
        "postgresql://u:p@[::1]:2/db?a=b",
    ]
    assert split_hosts("postgresql:///db?host=/run/pg") == ["postgresql:///db?host=/run/pg"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s%40cret@h1:1,h2:2/db?sslmode=require", "postgresql://u:***@h1:1,h2:2/db?sslmode=require"),
        ("postgresql:///db?host=h1,h2&password=secret&user=u", "postgresql:///db?host=h1,h2&password=***&user=u"),
        ("postgresql://u@[::1]:1/db", "postgresql://u@[::1]:1/db"),
        ("postgresql://h/my%20ads", "postgresql://h/my%20ads"),
    ],
)
def test_passwords_are_hidden_in_every_part_of_the_url(url: str, shown: str) -> None:
    assert hide_password(url) == shown


@pytest.mark.parametrize(
    ("url", "finance"),
    [
        ("postgresql://app:s%40cret@h1:1,h2:2/my%20ads?a=b", "postgresql://finance@h1:1,h2:2/my%20ads?a=b"),
        ("postgresql:///db?host=/run/pg&user=app&password=secret", "postgresql://finance@/db?host=/run/pg"),
        ("postgresql://h/db", "postgresql://finance@h/db"),
    ],
)
def test_the_url_of_another_role_has_no_password(url: str, finance: str) -> None:
    assert with_role(url, "finance") == finance


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql://u:p@h1:1,h2:2/db?a=b", "postgresql://u:p@h1:1,h2:2/my%20ads?a=b"),
        ("postgresql:///db?host=/run/pg", "postgresql:///my%20ads?host=/run/pg"),
    ],
)
def test_another_database_is_on_the_same_hosts(url: str, other: str) -> None:
    assert with_database(url, "my ads") == other


@pytest.mark.parametrize(
    ("url", "without", "password"),
    [
        ("postgresql://u:p@h/db", "postgresql://u@h/db", "p"),
        ("postgresql://u:p%40%2F@h1:1,[::1]:2/db?a=b", "postgresql://u@h1:1,[::1]:2/db?a=b", "p@/"),
        ("postgresql://u@h/db?password=p%26&sslmode=require", "postgresql://u@h/db?sslmode=require", "p&"),
        ("postgresql:///db?user=u&password=p&sslpassword=k", "postgresql:///db?user=u", "p"),
        ("postgresql://u@h/db", "postgresql://u@h/db", None),
    ],
)
def test_a_password_is_split_from_its_url(url: str, without: str, password: str | None) -> None:
    assert split_password(url) == (without, password)


@pytest.mark.parametrize(
    ("url", "role"),
    [("postgresql://a%40b:p@h/db", "a@b"), ("postgresql://h/db?user=u", "u"), ("postgresql://h/db", "")],
)
def test_a_url_names_its_role(url: str, role: str) -> None:
    assert role_in_url(url) == role
