"""The settings of this process, and one clear line for a setting that cannot work."""

import os
from difflib import get_close_matches

import structlog
from pydantic import ValidationError

from app.errors import MisconfiguredServer
from app.settings import Settings
from app.store.database_url_parameters import InvalidUrl, parse_url

PREFIX = "ADSERVER_"

log = structlog.get_logger()


def settings_from_environment() -> Settings:
    """What the environment says. Raises MisconfiguredServer with every faulty variable, a line each."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise MisconfiguredServer("\n".join(_line(fault["loc"], fault["msg"]) for fault in error.errors())) from error
    if settings.database_url:
        _require_database_url(settings.database_url)
    return settings


def warn_of_ignored(settings: Settings) -> None:
    """Logs variables that are no settings, with the setting whose name is nearest, and ignored parts of the URL."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            log.warning("unknown setting ignored", setting=name, nearest=nearest[0])
    ignored = parse_url(settings.database_url).ignored if settings.database_url else ()
    if ignored:
        log.warning("parameters of ADSERVER_DATABASE_URL ignored", parameters=", ".join(ignored))


def _require_database_url(url: str) -> None:
    try:
        parse_url(url)
    except InvalidUrl as error:
        raise MisconfiguredServer(f"ADSERVER_DATABASE_URL: {error}") from error


def _line(path: tuple[int | str, ...], message: str) -> str:
    """A fault of one variable names it; one of several together names them itself."""
    reason = message.removeprefix("Value error, ")
    return f"ADSERVER_{str(path[0]).upper()}: {reason}" if path else reason
