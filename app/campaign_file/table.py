"""The base of all tables of a campaign file."""

from pydantic import BaseModel, ConfigDict, Field

LIST_LENGTH_MAX = 1000
"""Values in one list of an item."""

lax = Field(strict=False)
"""Enums are not strict, because their values are written as text."""


class Table(BaseModel):
    """A table that rejects unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
