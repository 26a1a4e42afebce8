"""Settings from the environment, with one line for each invalid setting."""

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
    """Return the settings. Raises MisconfiguredServer with a line for each invalid variable."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise MisconfiguredServer("\n".join(_line(fault["loc"], fault["msg"]) for fault in error.errors())) from error
    if settings.database_url:
        _require_database_url(settings.database_url)
    return settings


def warn_about_ignored(settings: Settings) -> None:
    """Log ADSERVER_ variables that are not settings, with the nearest name, and ignored parameters of the URL."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            log.warning("unknown_setting_ignored", setting=name, nearest=nearest[0])
    ignored = parse_url(settings.database_url).ignored if settings.database_url else ()
    if ignored:
        log.warning("database_url_parameters_ignored", parameters=", ".join(ignored))


def _require_database_url(url: str) -> None:
    try:
        parse_url(url)
    except InvalidUrl as error:
        raise MisconfiguredServer(f"ADSERVER_DATABASE_URL: {error}") from error


def _line(path: tuple[int | str, ...], message: str) -> str:
    """Return the line for a fault, beginning with the setting; a fault of several settings names them itself."""
    reason = message.removeprefix("Value error, ")
    return f"ADSERVER_{str(path[0]).upper()}: {reason}" if path else reason
