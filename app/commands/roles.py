"""Database roles as which a command can connect."""

import enum

from app.errors import StoreUnavailable
from app.launch.databases import configured_or_running, role_url
from app.settings import Settings
from app.store.database_url_parameters import parse_url
from app.store.roles import APP, FINANCE


class Role(enum.StrEnum):
    """A database role."""

    OWNER = "owner"
    APP = "app"
    FINANCE = "finance"


def role_connection_url(role: Role, settings: Settings) -> str:
    """Return the role's connection URL for psql. Raises StoreUnavailable if the embedded Postgres is not running."""
    names = {Role.APP: APP, Role.FINANCE: FINANCE}
    url = configured_or_running(settings) if role is Role.OWNER else role_url(settings, names[role])
    if url is None:
        raise StoreUnavailable("the embedded Postgres is not running; start it with `adserver run`")
    return parse_url(url).psql_url
