"""The price of a campaign and the budgets that limit it, in a campaign file."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.table import Table

Units = Annotated[int, Field(ge=0, le=domain.BUDGET_IMPRESSIONS_MAX)]


class PriceTable(Table):
    """A price, under the name of its model."""

    cpm: fields.Cpm | None = None
    cpc: fields.Amount | None = None
    cpcv: fields.Amount | None = None
    flat: fields.PositiveAmount | None = None

    @model_validator(mode="after")
    def is_one_price(self) -> Self:
        """Reject no price, and several."""
        if len(list(self._prices())) != 1:
            raise ValueError("must have one of cpm, cpc, cpcv and flat")
        return self

    def to_domain(self) -> domain.Price:
        """Return the price."""
        return next(self._prices())

    def _prices(self) -> Iterator[domain.Price]:
        for model in domain.PriceModel:
            amount = getattr(self, model)
            if amount is not None:
                yield domain.Price(model, amount)


class BudgetTable(Table):
    """A budget of a campaign for one period."""

    amount: fields.Amount | None = None
    impressions: Units | None = None
    clicks: Units | None = None
    completions: Units | None = None

    @model_validator(mode="after")
    def limits_something(self) -> Self:
        """Reject a budget without any limit, and one with two numbers."""
        if self.amount is None and not self.units:
            raise ValueError("must have amount, impressions or both")
        if len(self.units) > 1:
            raise ValueError(f"must not have both {' and '.join(self.units)}")
        return self

    @property
    def units(self) -> dict[str, int]:
        """The limits that are numbers, by their keys."""
        return self.model_dump(include={"impressions", "clicks", "completions"}, exclude_none=True)

    def to_domain(self) -> domain.Budget:
        """Return the budget."""
        return domain.Budget(self.amount, next(iter(self.units.values()), None))


def _as_table(value: object) -> object:
    """Return an amount as a table with that amount."""
    return value if isinstance(value, dict) else {"amount": fields.validate_amount(value)}


PeriodBudget = Annotated[BudgetTable, BeforeValidator(_as_table, json_schema_input_type=fields.Amount | BudgetTable)]
"""A budget, as a table or as the amount alone."""


class BudgetsTable(Table):
    """The budgets of a campaign."""

    hour: PeriodBudget | None = None
    day: PeriodBudget | None = None
    lifetime: PeriodBudget | None = None

    def by_period(self) -> dict[domain.BudgetPeriod, BudgetTable]:
        """Return the budgets by period."""
        periods = {period: getattr(self, period) for period in sorted(domain.BudgetPeriod)}
        return {period: budget for period, budget in periods.items() if budget is not None}

    def require_fit(self, price: domain.Price, pacing: domain.Pacing) -> None:
        """Raise ValueError if a budget counts something else than what is sold, or limits a flat price."""
        self._require_units_of(price.model)
        if price.model is domain.PriceModel.FLAT:
            self._require_room_for(price.amount, pacing)

    def _require_room_for(self, flat_price: Decimal, pacing: domain.Pacing) -> None:
        """Raise ValueError if money is limited otherwise than to the flat price or more, over the whole flight."""
        for period, budget in self.by_period().items():
            if budget.amount is None:
                continue
            if period is not domain.BudgetPeriod.LIFETIME:
                raise ValueError(f"{period} must not limit money, because a flat price is booked by day")
            if budget.amount < flat_price:
                raise ValueError(f"{period} must not be less than the flat price of {flat_price:f}")
            if pacing is not domain.Pacing.ASAP:
                raise ValueError(f"{period} must not limit money with pacing '{pacing}', which a flat price has not")

    def _require_units_of(self, model: domain.PriceModel) -> None:
        """Raise ValueError if a budget counts something else than what is sold at a price of this model."""
        for period, budget in self.by_period().items():
            for unit in budget.units:
                if unit != model.counted_unit:
                    raise ValueError(
                        f"{period}.{unit} must be {period}.{model.counted_unit}, which a price by {model} is for"
                    )
