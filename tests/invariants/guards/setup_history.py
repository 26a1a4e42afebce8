"""T1: every change of what is set up is recorded, and the record stays."""

from tests.invariants.guards.guard import Guard

SETUP_HISTORY = "migrations/versions/0012_setup_history.py"
SETUP_HISTORY_TEST = "tests/integration/setup/test_setup_history.py"

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
        "trigger history_is_kept",
        SETUP_HISTORY,
        '"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "',
        '"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} "',
        f"{SETUP_HISTORY_TEST}::test_not_even_a_superuser_writes_history",
    ),
]
