"""Short forms for the columns and constraints of revisions. Like them, this file never changes once 1.0 is released.

Revisions import nothing from `app`, whose definitions move on with every release.
"""

from typing import Any

from sqlalchemy import CheckConstraint, Column, Computed, DateTime, ForeignKey, Numeric, String

Identifier = String(collation="C")
Money = Numeric(18, 6)
Timestamp = DateTime(timezone=True)


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
