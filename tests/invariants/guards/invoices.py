"""I2: invoices are numbered without holes, and what was invoiced, paid or closed is kept."""

from tests.invariants.guards.guard import TRIGGERS, Guard

INVOICES = "migrations/versions/0015_invoices.py"
INVOICES_TEST = "tests/integration/accounting/test_invoices.py"
MONTH_CLOSE = "migrations/versions/0014_month_close.py"
MONTH_CLOSE_TEST = "tests/integration/accounting/test_month_close.py"
MONTHS = "app/accounting/month_close.py"
PAYOUTS = "app/store/payouts.py"
TAMPERING_TEST = "tests/integration/accounting/test_tampering.py"

INVOICES_GUARDS = [
    Guard(
        "I2",
        "trigger invoices_are_kept",
        INVOICES,
        '"BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW',
        '"BEFORE DELETE ON invoices FOR EACH ROW',
        f"{INVOICES_TEST}::test_not_even_a_superuser_changes_an_invoice",
    ),
    Guard(
        "I2",
        "trigger details_are_kept",
        INVOICES,
        '"BEFORE UPDATE OR DELETE ON invoice_details FOR EACH ROW',
        '"BEFORE DELETE ON invoice_details FOR EACH ROW',
        f"{INVOICES_TEST}::test_not_even_a_superuser_changes_an_invoice",
    ),
    Guard(
        "I2",
        "trigger details_are_complete",
        INVOICES,
        "SELECT FROM invoices i WHERE i.number = NEW.number AND i.xmin = pg_current_xact_id()::xid",
        "SELECT FROM invoices i WHERE i.number = NEW.number",
        f"{INVOICES_TEST}::test_nobody_adds_a_line_to_an_invoice_that_was_made",
    ),
    Guard(
        "I2",
        "invoiced_month_is_closed",
        INVOICES,
        "IF NEW.month > coalesce((SELECT max(month) FROM closed_months), '-infinity') THEN",
        "IF false THEN",
        f"{INVOICES_TEST}::test_the_database_refuses_an_invoice_that_breaks_a_rule",
    ),
    Guard(
        "I2",
        "CHECK total_is_rounded_once",
        INVOICES,
        '"total = round(total_exact, minor_units)"',
        '"true"',
        f"{INVOICES_TEST}::test_the_database_refuses_an_invoice_that_breaks_a_rule",
    ),
    Guard(
        "I2",
        "an invoice's number follows the last one",
        INVOICES,
        "    UPDATE invoice_counter SET last_number = last_number + 1 RETURNING last_number INTO NEW.number;\n",
        "",
        f"{INVOICES_TEST}::test_the_servers_role_makes_invoices_too_and_cannot_sign_for_another",
    ),
    Guard(
        "I2",
        "lock_invoice_numbers",
        INVOICES,
        "SELECT last_number FROM invoice_counter FOR UPDATE;",
        "SELECT last_number FROM invoice_counter;",
        f"{INVOICES_TEST}::test_many_that_make_at_once_make_each_invoice_once_and_a_crash_leaves_no_hole",
    ),
    Guard(
        "I2",
        "trigger payouts_are_kept",
        MONTH_CLOSE,
        '"BEFORE UPDATE OR DELETE ON payouts FOR EACH ROW',
        '"BEFORE UPDATE ON payouts FOR EACH ROW',
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "trigger corrections_are_kept",
        TRIGGERS,
        "CREATE TRIGGER corrections_are_kept BEFORE UPDATE OR DELETE",
        "CREATE TRIGGER corrections_are_kept BEFORE DELETE",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "trigger credits_are_kept",
        TRIGGERS,
        "CREATE TRIGGER credits_are_kept BEFORE UPDATE OR DELETE",
        "CREATE TRIGGER credits_are_kept BEFORE UPDATE",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "trigger closings_are_kept",
        TRIGGERS,
        "CREATE TRIGGER closings_are_kept BEFORE UPDATE OR DELETE",
        "CREATE TRIGGER closings_are_kept BEFORE DELETE",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "one transaction at a time uses a payout's key",
        PAYOUTS,
        "    await connection.execute(LOCK_PAYOUT_KEY, key)\n",
        "",
        "tests/integration/accounting/test_payouts.py::test_one_key_pays_once_though_many_send_it_at_once",
    ),
    Guard(
        "I2",
        "trigger figures_are_kept",
        MONTH_CLOSE,
        '"BEFORE UPDATE OR DELETE ON month_ends FOR EACH ROW',
        '"BEFORE DELETE ON month_ends FOR EACH ROW',
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "a closed month gets no more figures",
        MONTH_CLOSE,
        "BEFORE INSERT ON month_ends FOR EACH ROW EXECUTE FUNCTION refuse_closed_month('month')",
        "BEFORE INSERT ON month_ends FOR EACH ROW WHEN (false) EXECUTE FUNCTION refuse_closed_month('month')",
        f"{TAMPERING_TEST}::test_a_plain_statement_is_refused",
    ),
    Guard(
        "I2",
        "a month is closed when it has ended in every timezone",
        MONTHS,
        "if status.lasts_in is not None:",
        "if False:",
        f"{MONTH_CLOSE_TEST}::test_a_month_lasts_as_long_as_in_any_campaigns_timezone",
    ),
    Guard(
        "I2",
        "a month is closed when none of its holds is open",
        MONTHS,
        "if status.open_holds:",
        "if False:",
        f"{MONTH_CLOSE_TEST}::test_a_month_with_open_holds_is_not_closed",
    ),
    Guard(
        "I2",
        "months are closed in their order",
        MONTHS,
        "if status.earlier_entry is not None:",
        "if False:",
        "tests/acceptance/test_refused_money.py::test_months_are_closed_in_order",
    ),
    Guard(
        "I2",
        "late money goes to the first open day",
        "app/store/spending.py",
        "greatest(r.day, books.first_open_day) AS booked_on",
        "r.day AS booked_on",
        "tests/integration/accounting/test_late_money.py::test_a_charge_on_a_local_day_of_a_closed_month",
    ),
]
