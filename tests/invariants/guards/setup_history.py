"""T1: every change of what is set up is recorded, and the record stays."""

from tests.invariants.guards.guard import Guard

SETUP_HISTORY = "migrations/versions/0012_setup_history.py"
SETUP_HISTORY_TEST = "tests/integration/setup/test_setup_history.py"
WEBHOOKS_TEST = "tests/integration/setup/test_webhooks.py"

SETUP_HISTORY_GUARDS = [
    Guard(
        "T1",
        "a change by SQL is noted",
        SETUP_HISTORY,
        '"CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table} "',
        '"CREATE TRIGGER {name} AFTER INSERT ON {table} "',
        f"{SETUP_HISTORY_TEST}::test_a_change_by_sql_is_recorded_with_the_role",
    ),
    Guard(
        "T1",
        "triggers that fire for replicas too",
        SETUP_HISTORY,
        'op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")',
        "",
        f"{SETUP_HISTORY_TEST}::test_a_superuser_who_turns_ordinary_triggers_off_is_recorded",
    ),
    Guard(
        "T1",
        "a change has the author that was given with it",
        "app/campaign_file/apply.py",
        '        await setup_history.mark_changes(connection, origin or ChangeOrigin(f"file {draft.file}"))\n',
        "",
        f"{SETUP_HISTORY_TEST}::test_an_applied_file_is_recorded_with_its_author",
    ),
    Guard(
        "T1",
        "the change of a webhook is noted",
        "migrations/versions/0016_outbox.py",
        "    for trigger, (definition, comment) in NOTING_TRIGGERS.items():\n",
        "    for trigger, (definition, comment) in {}.items():\n",
        f"{WEBHOOKS_TEST}::test_the_history_of_a_webhook_shows_that_its_secret_has_changed_and_no_secret",
    ),
    Guard(
        "T1",
        "the history of a webhook has no secret",
        SETUP_HISTORY,
        "left(encode(sha256(convert_to(w.secret, 'UTF8')), 'hex'), 16)",
        "w.secret",
        f"{WEBHOOKS_TEST}::test_the_history_of_a_webhook_shows_that_its_secret_has_changed_and_no_secret",
    ),
    Guard(
        "T1",
        "trigger history_is_kept",
        SETUP_HISTORY,
        '"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "',
        '"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} "',
        f"{SETUP_HISTORY_TEST}::test_not_even_a_superuser_writes_history",
    ),
]
