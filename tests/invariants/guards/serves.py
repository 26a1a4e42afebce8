"""I3: each Ad that a player receives has one serve row and is paid for once."""

from tests.invariants.guards.guard import EVERY_AD_TEST, HOLDS, HOLDS_TEST, ONCE_TEST, SERVING_TABLES, Guard

SOLD_TEST = "tests/integration/accounting/test_clicks_and_views.py"

SERVES_GUARDS = [
    Guard(
        "I3",
        "the key of ad_serves",
        SERVING_TABLES,
        'PrimaryKeyConstraint("request_key", "slot", "served_on"),\n        comment="One row for every ad served;',
        'comment="One row for every ad served;',
        f"{ONCE_TEST}::test_two_workers_that_wait_for_one_budget_pay_for_a_request_once",
    ),
    Guard(
        "I3",
        "the statement that ends a hold deletes it",
        HOLDS,
        """DELETE FROM holds h USING ending e WHERE h.ctid = e.row_ctid
    RETURNING h.*, e.settles, e.cause, CASE WHEN e.settles THEN {NEW_ENTRY_ID} END AS entry_id""",
        "SELECT h.*, e.settles, e.cause, CASE WHEN e.settles THEN {NEW_ENTRY_ID} END AS entry_id"
        " FROM holds h JOIN ending e ON h.ctid = e.row_ctid",
        f"{HOLDS_TEST}::test_of_an_impression_and_an_error_the_first_decides",
    ),
    Guard(
        "I3",
        "a serve delivers one Ad",
        "app/vast/trackers.py",
        "    for other in others:\n        root.remove(other)\n",
        "",
        f"{EVERY_AD_TEST}::test_a_document_with_several_ads_is_handed_out_as_it_is_paid",
    ),
    Guard(
        "I3",
        "a Wrapper leads to one Ad",
        "app/vast/trackers.py",
        'wrapper.set("allowMultipleAds", "false")',
        "pass",
        f"{EVERY_AD_TEST}::test_a_wrapper_that_is_passed_on_may_lead_to_one_ad",
    ),
    Guard(
        "I3",
        "an own Wrapper leads to one Ad",
        "app/vast/own_wrappers.py",
        '"allowMultipleAds": False,',
        '"allowMultipleAds": None,',
        "tests/unit/vast/test_own_wrappers.py::test_attributes_are_in_the_versions_that_have_them",
    ),
    Guard(
        "I3",
        "an Ad without media is not sold",
        "app/vast/compiled_document.py",
        " for position, ad in enumerate(parsed.ads) if ad.is_playable)",
        " for position, ad in enumerate(parsed.ads))",
        f"{EVERY_AD_TEST}::test_a_document_with_several_ads_is_handed_out_as_it_is_paid",
    ),
    Guard(
        "I3",
        "an archived month leaves the charges of serves that are kept",
        "app/store/month_archive.py",
        "    await connection.execute(STORE_ARCHIVED_CHARGES, begins, ends)",
        "",
        "tests/integration/accounting/test_month_archive.py"
        "::test_an_archived_month_leaves_the_ledger_and_changes_no_report",
    ),
    Guard(
        "I3",
        "a settled hold has its event",
        "migrations/versions/0020_reconciliation.py",
        "WHERE l.kind = 'settle' AND s.billing",
        "WHERE false AND s.billing",
        "tests/integration/accounting/test_tampering.py::test_impressions_that_were_deleted_are_missed",
    ),
    Guard(
        "I3",
        "only the event that was sold settles a hold",
        HOLDS,
        "array_position(d.events, h.billing) AS settled",
        "array_position(d.events, 'impression') AS settled",
        f"{SOLD_TEST}::test_only_the_event_that_was_sold_charges",
    ),
    Guard(
        "I3",
        "only the event that was sold is charged late",
        HOLDS,
        "WHERE r.billing = b.event AND r.cause",
        "WHERE r.cause",
        f"{SOLD_TEST}::test_a_released_hold_is_charged_late_by_nothing_but_what_was_sold",
    ),
]
