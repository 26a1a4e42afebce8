"""`adserver psql` on a configured database."""

import pytest
from sqlalchemy.engine import make_url

from app.store.roles import APP, FINANCE
from tests.launched import adserver

WHO = ("--no-psqlrc", "-At", "-c", "SELECT current_user")


def psql(*arguments: str, url: str, **settings: str) -> tuple[int, str, str]:
    done = adserver("psql", *arguments, DATABASE_URL=url, **settings)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [("--", *WHO), WHO], ids=["after --", "without it"])
def test_arguments_are_handed_to_psql(arguments: tuple[str, ...], database: str) -> None:
    assert psql(*arguments, url=database) == (0, "postgres\n", "")


@pytest.mark.parametrize(("role", "user"), [("owner", APP), ("app", APP)])
def test_the_role_that_is_configured_needs_no_other_password(role: str, user: str, app_database: str) -> None:
    assert psql("--role", role, "--", *WHO, url=app_database) == (0, f"{user}\n", "")


def test_another_role_s_password_is_left_to_psql(database: str, finance_database: str) -> None:
    status, _, complaint = psql("--role", "finance", "--", "--no-password", *WHO, url=database)
    assert status == 2
    assert "no password supplied" in complaint
    assert make_url(finance_database).username == FINANCE
    assert psql("--role", "finance", "--", *WHO, url=finance_database) == (0, f"{FINANCE}\n", "")


def test_the_exit_status_is_that_of_psql(database: str) -> None:
    assert psql("--", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1 / 0", url=database)[0] == 1


def test_a_role_that_is_none_is_refused(database: str) -> None:
    status, _, complaint = psql("--role", "nobody", url=database)
    assert status == 2
    assert "'owner', 'app', 'finance'" in complaint
