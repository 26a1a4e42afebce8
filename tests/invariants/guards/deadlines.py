"""I8: each answer is valid VAST or a clean HTTP error, within the deadline and within bounded memory."""

from tests.invariants.guards.guard import CONNECTIONS, Guard

LANE = "app/serving/lane.py"
DEADLINES_TEST = "tests/invariants/test_deadlines.py"

DEADLINES_GUARDS = [
    Guard(
        "I8",
        "a request in a running group has a deadline",
        LANE,
        "chain(self._queue, self._in_groups)",
        "self._queue",
        f"{DEADLINES_TEST}::test_a_row_that_somebody_holds_is_waited_for_until_the_deadline_and_no_longer",
    ),
    Guard(
        "I8",
        "a queued request has a deadline",
        LANE,
        "chain(self._queue, self._in_groups)",
        "self._in_groups",
        f"{DEADLINES_TEST}::test_a_request_that_waits_behind_others_is_answered_by_its_deadline",
    ),
    Guard(
        "I8",
        "lock_timeout",
        CONNECTIONS,
        '"lock_timeout": f"{timeouts.lock_ms}ms",',
        "",
        f"{DEADLINES_TEST}::test_a_row_that_somebody_holds_is_waited_for_no_longer_than_a_lock_may_take",
    ),
    Guard(
        "I8",
        "the queue has a bound",
        LANE,
        "if len(self._queue) >= self._queue_max or self._stopping:",
        "if self._stopping:",
        f"{DEADLINES_TEST}::test_past_the_bound_of_the_queue_the_answer_comes_at_once",
    ),
    Guard(
        "I8",
        "an upstream's body has a limit",
        "app/upstreams/body.py",
        """if received > max_bytes:
            raise BodyTooLargeError""",
        """if received > max_bytes:
            pass""",
        "tests/unit/upstreams/test_body.py::test_a_body_that_unpacks_to_nothing_has_a_limit_too",
    ),
    Guard(
        "I8",
        "an unpacked body has a limit",
        "app/upstreams/content_coding.py",
        "if self._remaining < 0:",
        "if False:",
        "tests/unit/upstreams/test_body.py::test_what_unpacks_to_too_much_is_held_in_small_parts",
    ),
    Guard(
        "I8",
        "a document with a DOCTYPE is not parsed",
        "app/vast/limits.py",
        'raise UnusableVast("has a DOCTYPE")',
        "pass",
        "tests/unit/vast/test_limits.py::test_too_much_of_anything_is_refused_in_a_moment",
    ),
    Guard(
        "I8",
        "a document that was parsed has no DOCTYPE",
        "app/vast/parser.py",
        "if tree.docinfo.internalDTD is not None:",
        "if False:",
        "tests/unit/vast/test_parser.py::test_a_doctype_is_found_after_parsing_too",
    ),
    Guard(
        "I8",
        "a merged document has a default namespace and no prefixes",
        "app/vast/namespaces.py",
        "declared[None] = namespace",
        'declared["ns0"] = namespace',
        "tests/unit/vast/test_namespaces.py::test_an_unwrapped_document_has_one_default_namespace_and_no_prefixes",
    ),
    Guard(
        "I8",
        "a CDATA section does not end early",
        "app/vast/xml_writer.py",
        ".replace(']]>', ']]]]><![CDATA[>')",
        "",
        "tests/unit/vast/test_own_ads.py::test_a_hostile_creative_comes_out_saying_the_same",
    ),
    Guard(
        "I8",
        "the parts of an own document have a limit together",
        "app/campaign_file/vast_element_tables.py",
        "> ELEMENTS_BYTES_MAX:",
        "< 0:",
        "tests/unit/campaign_file/test_creative_elements.py::test_what_a_creative_carries_has_a_limit_together",
    ),
    Guard(
        "I8",
        "an own document has only events of its version",
        "app/vast/tracking_events.py",
        "if version < _FIRST_VERSIONS.get(event, VastVersion.V2_0):",
        "if False:",
        "tests/unit/docs/test_creative_elements.py::test_every_event_has_the_names_that_the_page_says",
    ),
    Guard(
        "I8",
        "an own document has only as many icons as its version",
        "app/vast/own_displays.py",
        "creative.elements.icons[: schema.icons_max]",
        "creative.elements.icons",
        "tests/unit/docs/test_creative_elements.py::test_every_key_is_carried_as_the_page_says",
    ),
    Guard(
        "I8",
        "CHECK creative_has_files_or_a_tag",
        "migrations/versions/0003_catalog_tables.py",
        "(vast_tag_url IS NULL) = (media_files <> '[]'::jsonb)",
        "true",
        "tests/integration/setup/test_creative_tags.py::test_a_creative_has_either_files_or_a_tag",
    ),
]
