"""The tables as SQLAlchemy knows them. Alembic owns the schema; `alembic check` compares the two.

The rules that make overspend impossible are CHECK constraints here, named after what they require.
Rows of the hot path carry no foreign keys: campaigns are never deleted, and a key check would lock the
campaign's row once for every ad. Storage parameters are set by the migrations alone.
"""

from app.store.tables import (
    accounting,
    archive,
    catalog,
    correction_sets,
    creatives,
    delivery,
    invoices,
    outbox,
    serving,
    third_party,
)
from app.store.tables.columns import is_managed, metadata

__all__ = [
    "accounting",
    "archive",
    "catalog",
    "correction_sets",
    "creatives",
    "delivery",
    "invoices",
    "is_managed",
    "metadata",
    "outbox",
    "serving",
    "third_party",
]
