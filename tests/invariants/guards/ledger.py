"""I2: a counter equals the sum of its ledger rows."""

from tests.invariants.guards.guard import HOLDS, HOLDS_TEST, LIMITS_TEST, ONCE_TEST, TRANSACTION, TRIGGERS, Guard

ACCOUNTING_TABLES = "migrations/versions/0005_accounting_tables.py"

LEDGER_GUARDS = [
    Guard(
        "I2",
        "one transaction for the counts, the money and the serves",
        TRANSACTION,
        "async with self._connection.transaction():",
        "if True:",
        f"{ONCE_TEST}::test_when_commit_fails_nobody_hears_of_an_ad_and_nothing_is_left",
    ),
    Guard(
        "I2",
        "a released amount is not held any more",
        HOLDS,
        "SET held = t.held - e.freed,",
        "SET held = t.held - e.settled,",
        f"{HOLDS_TEST}::test_what_is_held_is_not_there_to_be_spent_and_what_is_released_is",
    ),
    Guard(
        "I2",
        "a released unit can be used again",
        HOLDS,
        "impressions = t.impressions - e.released,",
        "impressions = t.impressions,",
        "tests/integration/setup/test_budgets_in_impressions.py::test_a_released_hold_gives_its_unit_back",
    ),
    Guard(
        "I2",
        "trigger entries_are_kept",
        TRIGGERS,
        "CREATE TRIGGER entries_are_kept BEFORE UPDATE OR DELETE",
        "CREATE TRIGGER entries_are_kept AFTER INSERT",
        "tests/integration/accounting/test_roles.py"
        "::test_the_trigger_keeps_entries_even_from_a_role_that_was_granted_everything",
    ),
    Guard(
        "I2",
        "trigger month_is_closed",
        TRIGGERS,
        "RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')",
        "RAISE NOTICE 'the books of % are closed', to_char(its_month, 'YYYY-MM')",
        "tests/integration/accounting/test_month_close.py"
        "::test_the_database_lets_not_even_the_owner_book_in_a_closed_month_or_before",
    ),
    Guard(
        "I2",
        "a correction's key is unique",
        ACCOUNTING_TABLES,
        'PrimaryKeyConstraint("idempotency_key"),',
        "",
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
    Guard(
        "I2",
        "an entry is reversed once",
        ACCOUNTING_TABLES,
        'UniqueConstraint("reverses", name="an_entry_is_reversed_once"),',
        "",
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
]
