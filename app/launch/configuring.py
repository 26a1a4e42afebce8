"""The settings of this process, and one clear line for a setting that cannot work."""

from pydantic import ValidationError

from app.errors import MisconfiguredServer
from app.settings import Settings
from app.store.urls import require_readable

URL_SCHEME = "postgresql://"


def settings_from_environment() -> Settings:
    """What the environment says. Raises MisconfiguredServer with every faulty variable, a line each."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise MisconfiguredServer("\n".join(_line(fault["loc"], fault["msg"]) for fault in error.errors())) from error
    if settings.database_url:
        _require_database_url(settings.database_url)
    return settings


def _require_database_url(url: str) -> None:
    if not url.startswith(URL_SCHEME):
        raise MisconfiguredServer(f"ADSERVER_DATABASE_URL: must begin with {URL_SCHEME}")
    try:
        require_readable(url)
    except ValueError as error:
        # Python's own reason would have a part of the URL in it, which may be the password.
        raise MisconfiguredServer("ADSERVER_DATABASE_URL: is not a URL that can be read") from error


def _line(path: tuple[int | str, ...], message: str) -> str:
    """A fault of one variable names it; one of several together names them itself."""
    reason = message.removeprefix("Value error, ")
    return f"ADSERVER_{str(path[0]).upper()}: {reason}" if path else reason
