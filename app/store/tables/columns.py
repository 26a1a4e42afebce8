"""The metadata that all tables belong to, their column types, and short forms for columns and constraints."""

from typing import Any

from sqlalchemy import CheckConstraint, Column, Computed, DateTime, ForeignKey, Index, MetaData, Numeric, String
from sqlalchemy.sql.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(constraint_name)s",
    }
)

Identifier = String(collation="C")
"""Ids compare by bytes: fast, and in the same order on every machine, which the lock order depends on."""
Money = Numeric(18, 6)
Timestamp = DateTime(timezone=True)


def is_managed(_object: SchemaItem, name: str | None, kind: str, reflected: bool, _other: SchemaItem | None) -> bool:
    """Return whether `alembic check` compares this object: maintenance creates partitions, revisions do not."""
    return not (kind == "table" and reflected and name is not None and name not in metadata.tables)


def required(name: str, type_: Any, comment: str, **options: Any) -> Column[Any]:
    """Return a column that is NOT NULL."""
    return Column(name, type_, nullable=False, comment=comment, **options)


def optional(name: str, type_: Any, comment: str) -> Column[Any]:
    """Return a column that may be NULL."""
    return Column(name, type_, nullable=True, comment=comment)


def key_column(name: str, type_: Any, comment: str, **options: Any) -> Column[Any]:
    """Return a column of the primary key, without a default value of its own."""
    return Column(name, type_, primary_key=True, comment=comment, autoincrement=False, **options)


def reference(name: str, target: str, comment: str, **options: Any) -> Column[Any]:
    """Return a column with a foreign key to a column of another table; it is NOT NULL."""
    return Column(name, Identifier, ForeignKey(target), nullable=False, comment=comment, **options)


def allowed_values(name: str, column: str, values: str) -> CheckConstraint:
    """Return a constraint that allows these values, which are separated by spaces."""
    listed = ", ".join(f"'{value}'" for value in values.split())
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def optional_reference(name: str, target: str, comment: str) -> Column[Any]:
    """Return a column with a foreign key to a column of another table; it may be NULL."""
    return Column(name, Identifier, ForeignKey(target), nullable=True, comment=comment)


def budget_id_column() -> Column[Any]:
    """Return the first column of the key of budgets, which a campaign or an order owns."""
    return Column(
        "budget_id",
        Identifier,
        Computed("coalesce(campaign_id, ' order ' || order_id)", persisted=True),
        primary_key=True,
        nullable=False,
        autoincrement=False,
        comment="The campaign's id, or ' order ' and the order's id: no id begins with a space",
    )


def time_index(name: str, *columns: str) -> Index:
    """Return the smallest kind of index, for rows that are appended in the order of these columns: it finds a span."""
    return Index(
        name, *columns, postgresql_using="brin", postgresql_with={"pages_per_range": 32, "autosummarize": True}
    )
