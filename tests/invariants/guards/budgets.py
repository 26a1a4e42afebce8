"""I1: spent + held never exceeds a budget's limit."""

from tests.invariants.guards.guard import HOLDS, HOLDS_TEST, LIMITS_TEST, SERVING_TABLES, TRIGGERS, Guard

SQL_FRAGMENTS = "app/store/sql_fragments.py"
SPENDING = "app/store/spending.py"

BUDGETS_GUARDS = [
    Guard(
        "I1",
        "CHECK spend_within_budget",
        SERVING_TABLES,
        """CheckConstraint('spent + held <= "limit"',""",
        """CheckConstraint('true',""",
        f"{LIMITS_TEST}::test_the_schema_refuses_what_the_statements_let_through",
    ),
    Guard(
        "I1",
        "CHECK spend_is_not_negative",
        SERVING_TABLES,
        'CheckConstraint("spent >= 0 AND held >= 0 AND impressions >= 0",',
        'CheckConstraint("true",',
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
    Guard(
        "I1",
        "a budget period has one row",
        TRIGGERS,
        "    NEW.generation := coalesce(taken, NEW.generation);\n",
        "",
        f"{LIMITS_TEST}::test_a_budget_period_is_opened_once",
    ),
    Guard(
        "I1",
        "the UPDATE's own predicate",
        SPENDING,
        """t.spent + t.held + c.amount <= t."limit" AND""",
        "",
        f"{LIMITS_TEST}::test_the_update_refuses_what_was_granted_by_mistake",
    ),
    Guard(
        "I1",
        "the UPDATE's own predicate, for units",
        SPENDING,
        """ AND t.impressions + c.units <= t.impressions_limit\n""",
        "\n",
        f"{LIMITS_TEST}::test_the_update_refuses_what_was_granted_by_mistake",
    ),
    Guard(
        "I1",
        "CHECK impressions_within_budget",
        SERVING_TABLES,
        'CheckConstraint("impressions <= impressions_limit",',
        'CheckConstraint("true",',
        f"{LIMITS_TEST}::test_the_schema_refuses_what_the_statements_let_through",
    ),
    Guard(
        "I1",
        "no more ads are granted than there are units",
        SQL_FRAGMENTS,
        ", {impressions} - t.impressions)",
        ")",
        f"{LIMITS_TEST}::test_as_many_ads_are_served_as_the_budget_has_room_for",
    ),
    Guard(
        "I1",
        "a late impression is charged only if there are units",
        HOLDS,
        "AND w.nth <= r.ads",
        "",
        "tests/integration/setup/test_budgets_in_impressions.py"
        "::test_impressions_that_come_late_are_charged_while_there_are_units",
    ),
    Guard(
        "I1",
        "no more ads are granted than the budget has room for",
        SPENDING,
        "ELSE least(r.wanted, r.ads_by_now)",
        "ELSE r.wanted",
        f"{LIMITS_TEST}::test_as_many_ads_are_served_as_the_budget_has_room_for",
    ),
    Guard(
        "I1",
        "a lowered limit applies although the period's row has a higher one",
        SQL_FRAGMENTS,
        """SELECT least(t."limit", b."limit") AS "limit\"""",
        """SELECT t."limit\"""",
        "tests/integration/setup/test_running_campaigns.py"
        "::test_holds_that_end_after_a_budget_was_lowered_make_no_room_above_it",
    ),
    Guard(
        "I1",
        "a late impression is charged only if there is room",
        HOLDS,
        "w.running <= r.amount AND",
        "",
        f"{HOLDS_TEST}::test_late_impressions_are_charged_while_the_budget_has_room",
    ),
]
