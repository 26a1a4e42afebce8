"""I2: a counter equals the sum of its ledger rows."""

from tests.invariants.guards.guard import HOLDS, HOLDS_TEST, LIMITS_TEST, ONCE_TEST, TRANSACTION, TRIGGERS, Guard

TAMPERING_TEST = "tests/integration/accounting/test_tampering.py"
MONTH_CLOSE = "migrations/versions/0014_month_close.py"
ACCOUNTING_TABLES = "migrations/versions/0005_accounting_tables.py"

SETS = "app/accounting/correction_sets.py"
SETS_TEST = "tests/integration/accounting/test_correction_sets.py"

PARTITIONS = "migrations/versions/0007_partitions.py"
ATTACH = (
    "    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);"
)

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
        "I3",
        "a late impression is charged once",
        HOLDS,
        "r.cause = 'expiry' AND r.entry_id IS NULL",
        "r.cause = 'expiry'",
        "tests/integration/accounting/test_impressions.py"
        "::test_a_late_impression_is_charged_once_however_often_it_comes",
    ),
    Guard(
        "I2",
        "delivery is rolled up to the mark of the books",
        "app/store/delivery.py",
        "least(s.next_hour, b.rolled_up_to) AS until",
        "s.next_hour AS until",
        "tests/integration/accounting/test_delivery_hourly.py"
        "::test_delivery_is_never_rolled_up_further_than_the_ledger",
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
        "CREATE TRIGGER entries_are_kept BEFORE UPDATE OF entry_id",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "trigger month_is_closed",
        TRIGGERS,
        "IF TG_NARGS > 1 OR its_month <= (SELECT max(month) FROM closed_months) THEN",
        "IF false THEN",
        "tests/integration/accounting/test_month_close.py"
        "::test_the_database_lets_not_even_the_owner_book_in_a_closed_month_or_before",
    ),
    Guard(
        "I2",
        "ENABLE ALWAYS",
        TRIGGERS,
        "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}",
        "ALTER TABLE {table} ENABLE TRIGGER {trigger}",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "a repair is recorded",
        TRIGGERS,
        "repair_reason(), TG_TABLE_NAME, TG_OP, to_jsonb(OLD), to_jsonb(NEW));",
        "repair_reason(), TG_TABLE_NAME, TG_OP, NULL, NULL);",
        f"{TAMPERING_TEST}::test_a_repair_is_recorded_and_its_record_cannot_be_repaired",
    ),
    Guard(
        "I2",
        "the record of repairs cannot be repaired",
        MONTH_CLOSE,
        "BEFORE UPDATE OR DELETE ON book_repairs FOR EACH ROW EXECUTE FUNCTION refuse_change('always')",
        "BEFORE UPDATE OR DELETE ON book_repairs FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        f"{TAMPERING_TEST}::test_a_repair_is_recorded_and_its_record_cannot_be_repaired",
    ),
    Guard(
        "I2",
        "trigger author_is_stamped",
        TRIGGERS,
        "    NEW.recorded_by := session_user;\n",
        "",
        f"{TAMPERING_TEST}::test_nobody_records_under_another_name",
    ),
    Guard(
        "I2",
        "only the owner repairs",
        TRIGGERS,
        "WHERE oid = 'spend_ledger'::regclass), 'MEMBER')",
        "WHERE oid = 'spend_ledger'::regclass), 'MEMBER') OR true",
        "tests/integration/accounting/test_roles.py"
        "::test_the_trigger_keeps_entries_even_from_a_role_that_was_granted_everything",
    ),
    Guard(
        "I2",
        "the hash of a month covers its corrections",
        "app/accounting/month_close.py",
        "month_hashes.hash_corrections(connection, begins, ends):",
        "month_hashes.hash_corrections(connection, ends, ends):",
        f"{TAMPERING_TEST}::test_a_closed_month_shows_what_was_done_while_its_guards_were_off",
    ),
    Guard(
        "I2",
        "a receipt names the guards",
        "app/accounting/receipts.py",
        "    changes += _changed_guards(receipt.guards, found.hashes)\n",
        "",
        f"{TAMPERING_TEST}::test_a_receipt_shows_a_guard_that_was_changed",
    ),
    Guard(
        "I2",
        "a guard that is not in force is missed",
        "app/store/guards.py",
        "sorted((REQUIRED_GUARDS - in_force) | set(unguarded)),",
        "[],",
        f"{TAMPERING_TEST}::test_a_guard_that_is_not_in_force_is_missed",
    ),
    Guard(
        "I2",
        "a correction's key is unique",
        ACCOUNTING_TABLES,
        'UniqueConstraint("idempotency_key", "set_entry", name="a_key_books_once", '
        "postgresql_nulls_not_distinct=True),",
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
    Guard(
        "I2",
        "a set's key is for one set",
        SETS,
        "if (previous.selection, previous.reason) != (selection, wanted.reason):",
        "if False:",
        f"{SETS_TEST}::test_a_key_is_for_one_set",
    ),
    Guard(
        "I2",
        "a set reverses only what is not reversed",
        "app/store/correction_sets.py",
        "    AND NOT EXISTS (SELECT FROM ledger_corrections k WHERE k.reverses = e.entry_id)\n",
        "",
        f"{SETS_TEST}::test_entries_that_are_reversed_already_are_skipped_and_counted",
    ),
    Guard(
        "I2",
        "a set is taken off the counters",
        SETS,
        "            await _update_counters(connection, amounts)\n",
        "",
        f"{SETS_TEST}::test_every_entry_of_a_file_is_reversed_in_every_budget",
    ),
    Guard(
        "I2",
        "a set takes back no more than was spent",
        SETS,
        "    if overdrawn is not None:",
        "    if False:",
        f"{SETS_TEST}::test_no_more_is_taken_back_than_was_spent",
    ),
    Guard(
        "I2",
        "entries move between partitions in sight of subscribers",
        PARTITIONS,
        ATTACH
        + """
    IF has_rows THEN
        EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE %I', parent, name || '_moving');
""",
        """    IF has_rows THEN
        EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE %I', name, name || '_moving');
    END IF;
"""
        + ATTACH
        + """
    IF has_rows THEN
""",
        "tests/integration/accounting/test_warehouse.py"
        "::test_a_warehouse_loses_and_doubles_no_entry_that_moves_between_partitions",
    ),
    Guard(
        "I2",
        "trigger entries_are_moved",
        PARTITIONS,
        "IF repair_reason() IS NULL AND NOT EXISTS (",
        "IF false AND NOT EXISTS (",
        "tests/integration/accounting/test_warehouse.py::test_an_entry_leaves_the_default_partition_only_for_its_own",
    ),
    Guard(
        "I2",
        "a correction finds its archived periods",
        "app/store/correction_counters.py",
        "    await connection.execute(RESTORE_PERIODS, *columns)",
        "",
        "tests/integration/accounting/test_budget_archive.py::test_an_entry_is_reversed_in_periods_that_were_archived",
    ),
    Guard(
        "I2",
        "no period is archived during a correction",
        "migrations/versions/0017_archive.py",
        "    LOCK TABLE ledger_corrections IN SHARE ROW EXCLUSIVE MODE;",
        "",
        "tests/integration/accounting/test_budget_archive.py"
        "::test_nothing_young_is_archived_and_nothing_during_a_correction",
    ),
    Guard(
        "I2",
        "an archived month leaves its opening balances",
        "app/store/month_archive.py",
        "    await connection.execute(ADD_OPENING_BALANCES, begins, ends)",
        "",
        "tests/integration/accounting/test_month_archive.py"
        "::test_an_archived_month_leaves_the_ledger_and_changes_no_report",
    ),
    Guard(
        "I2",
        "a month leaves the ledger only if its files have every entry",
        "app/accounting/month_archive.py",
        "        await _compare_files(connection, month, folder, manifest)",
        "",
        "tests/integration/accounting/test_month_archive.py"
        "::test_a_month_whose_files_lack_an_entry_stays_in_the_ledger",
    ),
]
