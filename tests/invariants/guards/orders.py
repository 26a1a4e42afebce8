"""I1 and I2 for orders, their credits, and publishers' parts."""

from tests.invariants.guards.guard import HOLDS, Guard

ACCOUNTING_TABLES = "migrations/versions/0005_accounting_tables.py"
CALCULATIONS = "migrations/versions/0002_calculations.py"
CREDITS_TEST = "tests/integration/accounting/test_credits.py"
FILE_CHANGES = "app/campaign_file/apply.py"
MOVES_TEST = "tests/integration/accounting/test_order_moves.py"
ORDERS_TEST = "tests/integration/accounting/test_orders.py"
PAYOUTS_TEST = "tests/integration/accounting/test_payouts.py"
SHARES_TEST = "tests/integration/accounting/test_revenue_share.py"
SPENDING = "app/store/spending.py"

ORDERS_GUARDS = [
    Guard(
        "I1",
        "an ad of a campaign with an order is charged to the order",
        "app/serving/transaction.py",
        "has_orders=any(selection.choice.campaign.order is not None for selection in payable)",
        "has_orders=False",
        "tests/acceptance/test_shared_orders.py::test_players_get_as_many_ads_as_the_order_has_room_for",
    ),
    Guard(
        "I1",
        "no more ads are granted than the order has room for",
        SPENDING,
        "WHEN o.ads < r.units THEN greatest(o.ads, 0) ",
        "",
        f"{ORDERS_TEST}::test_campaigns_share_a_budget_to_the_last_unit_of_money",
    ),
    Guard(
        "I1",
        "an order is charged for the ads of its campaigns",
        SPENDING,
        "FROM granted WHERE units > 0 AND order_id IS NOT NULL GROUP BY order_id",
        "FROM granted WHERE false GROUP BY order_id",
        f"{ORDERS_TEST}::test_the_campaigns_own_budget_counts_beside_the_orders",
    ),
    Guard(
        "I1",
        "the campaigns of an order get its room one after another",
        SPENDING,
        " - coalesce(sum(r.units * r.price) OVER earlier, 0)",
        "",
        f"{ORDERS_TEST}::test_a_group_of_several_prices_never_exceeds_its_order",
    ),
    Guard(
        "I1",
        "the campaigns of an order get its units one after another",
        SPENDING,
        " - coalesce(sum(r.units) OVER earlier, 0)",
        "",
        f"{ORDERS_TEST}::test_campaigns_share_a_budget_to_the_last_impression",
    ),
    Guard(
        "I1",
        "a campaign joins an order after the transactions that run",
        FILE_CHANGES,
        "(former.budgets.keys(), former.order) != (after.budgets.keys(), after.order)",
        "former.budgets.keys() != after.budgets.keys()",
        f"{MOVES_TEST}::test_a_campaign_joins_an_order_after_the_transactions_that_run",
    ),
    Guard(
        "I1",
        "a late impression is charged only if its order has room",
        HOLDS,
        "w.order_running <= r.order_amount AND ",
        "",
        f"{ORDERS_TEST}::test_late_impressions_are_charged_to_the_order_while_it_has_room",
    ),
    Guard(
        "I1",
        "a late impression is charged only if its order has units",
        HOLDS,
        " AND w.order_nth <= r.order_ads",
        "",
        f"{ORDERS_TEST}::test_late_impressions_end_at_the_orders_last_impression",
    ),
    Guard(
        "I1",
        "a prepaid order may spend what was credited",
        "app/store/sql_fragments.py",
        "THEN least(o.budget, (",
        "THEN coalesce(o.budget, (",
        f"{CREDITS_TEST}::test_an_order_with_a_budget_may_spend_the_lower_one_of_both",
    ),
    Guard(
        "I1",
        "a credit that is spent or held is not taken back",
        "app/accounting/credits.py",
        "if wanted.amount < 0 and booked.used > booked.credited:",
        "if False:",
        f"{CREDITS_TEST}::test_money_is_taken_back_but_not_what_is_spent_or_held",
    ),
    Guard(
        "I1",
        "an order that spent more than was credited does not become prepaid",
        FILE_CHANGES,
        "        self._forbid_spent_prepaid_orders(orders, overspent)\n",
        "",
        f"{CREDITS_TEST}::test_an_order_that_spent_more_than_was_credited_cannot_become_prepaid",
    ),
    Guard(
        "I2",
        "a credit's key is unique",
        ACCOUNTING_TABLES,
        """PrimaryKeyConstraint("idempotency_key"),
        CheckConstraint("amount <> 0", name="credit_is_not_zero"),""",
        """CheckConstraint("amount <> 0", name="credit_is_not_zero"),""",
        f"{CREDITS_TEST}::test_not_even_the_owner_credits_twice_under_one_key",
    ),
    Guard(
        "I2",
        "a payout's key is unique",
        "migrations/versions/0013_orders_and_payouts.py",
        """PrimaryKeyConstraint("idempotency_key"),""",
        "",
        f"{PAYOUTS_TEST}::test_not_even_the_owner_pays_twice_under_one_key",
    ),
    Guard(
        "I2",
        "CHECK amount_is_split",
        ACCOUNTING_TABLES,
        """CheckConstraint("amount = publisher_amount + house_amount", name="amount_is_split"),""",
        "",
        f"{SHARES_TEST}::test_the_schema_refuses_an_amount_that_is_not_split",
    ),
    Guard(
        "I2",
        "the publisher's part is rounded half to even",
        CALCULATIONS,
        "WHEN 0.5 THEN trunc(amount * revenue_share, 6)",
        "WHEN 0.5 THEN round(amount * revenue_share, 6)",
        f"{SHARES_TEST}::test_the_publishers_part_is_rounded_half_to_even",
    ),
]
