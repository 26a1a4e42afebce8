"""I7: after any fault, connections return to a clean state."""

from tests.invariants.guards.guard import CONNECTIONS, ONCE_TEST, TRANSACTION, Guard

GROUP_RUNNER = "app/serving/group_runner.py"
CONNECTIONS_TEST = "tests/invariants/test_connections.py"

CONNECTIONS_GUARDS = [
    Guard(
        "I7",
        "a connection is discarded after any error",
        CONNECTIONS,
        """await pooled.invalidate()
                    raise""",
        "raise",
        f"{CONNECTIONS_TEST}::test_a_transaction_that_was_cut_off_is_not_what_the_next_one_finds",
    ),
    Guard(
        "I7",
        "idle_in_transaction_session_timeout",
        CONNECTIONS,
        '"idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction_ms}ms",',
        "",
        f"{CONNECTIONS_TEST}::test_postgres_ends_a_transaction_that_nobody_goes_on_with",
    ),
    Guard(
        "I7",
        "a request that is done is not paid for",
        TRANSACTION,
        "[selection for selection in selections if not selection.choice.pending.is_done]",
        "selections",
        f"{ONCE_TEST}::test_who_has_left_while_an_ad_was_fetched_does_not_pay_for_it",
    ),
    Guard(
        "I7",
        "a closed connection takes no request",
        GROUP_RUNNER,
        "if connection.is_closed():",
        "if False:",
        f"{CONNECTIONS_TEST}::test_a_request_is_served_although_every_idle_connection_was_ended",
    ),
    Guard(
        "I7",
        "finance has a limit of connections",
        "migrations/roles.sql",
        "            ALTER ROLE adserver_finance CONNECTION LIMIT 20;",
        "            NULL;",
        "tests/integration/accounting/test_finance_connections.py"
        "::test_a_hundred_idle_finance_connections_leave_room_for_the_server",
    ),
    Guard(
        "I7",
        "connections are reserved for the server",
        "app/launch/databases.py",
        '        "reserved_connections": str(server_connections),',
        "",
        "tests/integration/accounting/test_finance_connections.py"
        "::test_roles_without_a_limit_leave_the_reserved_connections_to_the_server",
    ),
]
