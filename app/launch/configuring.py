"""The settings of this process, and one clear line for a setting that cannot work."""

from pydantic import ValidationError

from app.errors import MisconfiguredServer
from app.settings import Settings


def settings_from_environment() -> Settings:
    """What the environment says. Raises MisconfiguredServer with every faulty variable, a line each."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            variable = ": ".join(f"ADSERVER_{str(part).upper()}" for part in fault["loc"][:1])
            reason = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{variable}: {reason}" if variable else reason)
        raise MisconfiguredServer("\n".join(lines)) from error
