"""E1 and E2: events are recorded once, and delivered in order and at least once; A6: to public addresses only."""

from tests.invariants.guards.guard import Guard

EVENTS_TEST = "tests/integration/webhooks/test_events.py"
SENDING_TEST = "tests/integration/webhooks/test_sending.py"

EVENTS_GUARDS = [
    Guard(
        "E1",
        "a threshold's key",
        "migrations/versions/0016_outbox.py",
        "concat_ws(' ', 'budget', NEW.budget_id,",
        "concat_ws(' ', 'budget', gen_random_uuid(),",
        f"{EVENTS_TEST}::test_settling_and_serving_again_after_a_release_is_no_new_event",
    ),
    Guard(
        "E1",
        "a change of the books is recorded by one server",
        "app/store/outbox.py",
        "'books after ' || coalesce(latest.id, 0)",
        "'books after ' || gen_random_uuid()",
        f"{EVENTS_TEST}::test_books_that_disagree_are_an_event_once_for_each_change",
    ),
    Guard(
        "E2",
        "only the first delivery of a webhook is attempted",
        "app/store/outbox.py",
        "WHERE d.webhook_id = w.id ORDER BY d.position LIMIT 1\n    ) AS d\n    WHERE",
        "WHERE d.webhook_id = w.id ORDER BY d.attempts, d.position LIMIT 1\n    ) AS d\n    WHERE",
        f"{SENDING_TEST}::test_an_event_is_sent_again_after_errors_and_before_the_next_one",
    ),
    Guard(
        "E2",
        "a delivery stays until it is accepted",
        "app/webhooks/client.py",
        "if status not in ACCEPTED:",
        "if False:",
        f"{SENDING_TEST}::test_an_event_is_sent_again_after_errors_and_before_the_next_one",
    ),
]

ADDRESS_GUARDS = [
    Guard(
        "A6",
        "an address is checked where the socket is created",
        "app/webhooks/client.py",
        "            socket_factory=guarded_socket_factory(tuple(allowed_networks)),\n",
        "",
        f"{SENDING_TEST}::test_nothing_is_posted_to_a_private_address",
    ),
    Guard(
        "A6",
        "a private address is refused when it is set up",
        "app/campaign_file/validate.py",
        "if is_forbidden_host(host, self._webhook_networks):",
        "if False:",
        "tests/integration/setup/test_webhooks.py::test_a_private_address_is_refused_with_one_line",
    ),
]
