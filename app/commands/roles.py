"""Whom a command connects to the database as."""

import enum

from app.errors import StoreUnavailable
from app.launch.databases import configured_or_running, role_url
from app.settings import Settings
from app.store.database_url_parameters import parse_url
from app.store.roles import APP, FINANCE


class Role(enum.StrEnum):
    """Who connects."""

    OWNER = "owner"
    APP = "app"
    FINANCE = "finance"


def url_of(role: Role, settings: Settings) -> str:
    """The role's connection URL, as psql takes it. Raises StoreUnavailable if the embedded Postgres is down."""
    names = {Role.APP: APP, Role.FINANCE: FINANCE}
    url = configured_or_running(settings) if role is Role.OWNER else role_url(settings, names[role])
    if url is None:
        raise StoreUnavailable("the embedded Postgres does not run; start it with `adserver run`")
    return parse_url(url).psql_url
