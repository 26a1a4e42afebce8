"""What guards each invariant, how to take that out, and the test that goes red without it."""

from dataclasses import dataclass

TABLES = "migrations/versions/0001_the_tables.py"
ROLES = "migrations/versions/0004_roles.py"
BOOKS = "migrations/versions/0005_the_books.py"
CLOSING = "migrations/versions/0008_closing.py"
PERIODS = "migrations/versions/0017_one_row_a_period.py"
UNITS = "migrations/versions/0024_budgets_in_impressions.py"
BUDGET_FRAGMENTS = "app/store/budget_fragments.py"
CAPS = "app/store/caps.py"
HOLDS = "app/store/holds.py"
SPENDING = "app/store/spending.py"
TRANSACTION = "app/serving/transaction.py"
GROUP_ADMISSION = "app/serving/group_admission.py"
TOKENS = "app/serving/tokens.py"
LANE = "app/serving/lane.py"
GROUP_RUNNER = "app/serving/group_runner.py"
SERVE_RECORDS = "app/serving/serve_records.py"
CONNECTIONS = "app/store/connections.py"
CANDIDATES = "app/serving/candidates.py"
WEB_BEACONS = "app/web/beacons.py"
PARAMETERS = "app/web/parameters.py"

LIMITS_TEST = "tests/invariants/test_limits.py"
ONCE_TEST = "tests/invariants/test_once.py"
CONNECTIONS_TEST = "tests/invariants/test_connections.py"
EVERY_AD_TEST = "tests/invariants/test_every_ad.py"
DEADLINES_TEST = "tests/invariants/test_deadlines.py"
HOLDS_TEST = "tests/integration/accounting/test_holds.py"
BEACONS_TEST = "tests/integration/test_beacon_urls.py"
TOKENS_TEST = "tests/unit/serving/test_tokens.py"
ABUSE_TEST = "tests/invariants/test_abuse.py"
PARAMETERS_TEST = "tests/unit/web/test_parameters.py"


@dataclass(frozen=True)
class Guard:
    """`text` stands once in `file`; with `instead` in its place the guard is gone, and `test` fails."""

    rule: str
    name: str
    file: str
    text: str
    instead: str
    test: str


GUARDS = [
    Guard(
        "I1",
        "CHECK spend_within_budget",
        TABLES,
        """sa.CheckConstraint('spent + held <= "limit"',""",
        """sa.CheckConstraint('true',""",
        f"{LIMITS_TEST}::test_the_schema_refuses_what_the_statements_let_through",
    ),
    Guard(
        "I1",
        "CHECK spend_is_not_negative",
        TABLES,
        'sa.CheckConstraint("spent >= 0 AND held >= 0 AND impressions >= 0",',
        'sa.CheckConstraint("true",',
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
    Guard(
        "I1",
        "a budget period has one row",
        PERIODS,
        "    NEW.generation := coalesce(taken, NEW.generation);\n",
        "",
        f"{LIMITS_TEST}::test_a_budget_period_is_opened_once",
    ),
    Guard(
        "I1",
        "the UPDATE's own predicate",
        SPENDING,
        """t.spent + t.held + g.units * g.price <= t."limit" AND""",
        "",
        f"{LIMITS_TEST}::test_the_update_refuses_what_was_granted_by_mistake",
    ),
    Guard(
        "I1",
        "the UPDATE's own predicate, for units",
        SPENDING,
        """ AND t.impressions + g.units <= t.impressions_limit\n""",
        "\n",
        f"{LIMITS_TEST}::test_the_update_refuses_what_was_granted_by_mistake",
    ),
    Guard(
        "I1",
        "CHECK impressions_within_budget",
        UNITS,
        "CHECK (impressions <= impressions_limit) NOT VALID",
        "CHECK (true) NOT VALID",
        f"{LIMITS_TEST}::test_the_schema_refuses_what_the_statements_let_through",
    ),
    Guard(
        "I1",
        "as many ads are granted as there are units",
        BUDGET_FRAGMENTS,
        ", {impressions} - t.impressions)",
        ")",
        f"{LIMITS_TEST}::test_as_many_ads_are_served_as_the_budget_has_room_for",
    ),
    Guard(
        "I1",
        "a late impression is charged if there are units",
        HOLDS,
        "AND w.nth <= r.ads",
        "",
        "tests/integration/setup/test_budgets_in_impressions.py"
        "::test_impressions_that_come_late_are_charged_while_there_are_units",
    ),
    Guard(
        "I1",
        "as many ads are granted as there is room for",
        SPENDING,
        "ELSE least(r.wanted, r.ads_by_now)",
        "ELSE r.wanted",
        f"{LIMITS_TEST}::test_as_many_ads_are_served_as_the_budget_has_room_for",
    ),
    Guard(
        "I1",
        "a limit that was lowered counts, whatever the period's row says",
        BUDGET_FRAGMENTS,
        """SELECT least(t."limit", b."limit") AS "limit\"""",
        """SELECT t."limit\"""",
        "tests/integration/setup/test_running_campaigns.py"
        "::test_holds_that_end_after_a_budget_was_lowered_make_no_room_above_it",
    ),
    Guard(
        "I1",
        "a late impression is charged if there is room",
        HOLDS,
        "w.running <= r.amount AND",
        "",
        f"{HOLDS_TEST}::test_late_impressions_are_charged_while_the_budget_has_room",
    ),
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
        "what is released is not held any more",
        HOLDS,
        "SET held = t.held - e.freed,",
        "SET held = t.held - e.settled,",
        f"{HOLDS_TEST}::test_what_is_held_is_not_there_to_be_spent_and_what_is_released_is",
    ),
    Guard(
        "I2",
        "a unit that is released is not used any more",
        HOLDS,
        "impressions = t.impressions - e.unseen,",
        "impressions = t.impressions,",
        "tests/integration/setup/test_budgets_in_impressions.py::test_a_released_hold_gives_its_unit_back",
    ),
    Guard(
        "I2",
        "trigger entries_are_kept",
        ROLES,
        "CREATE TRIGGER entries_are_kept BEFORE UPDATE OR DELETE",
        "CREATE TRIGGER entries_are_kept AFTER INSERT",
        "tests/integration/accounting/test_roles.py"
        "::test_the_trigger_keeps_entries_even_from_a_role_that_was_granted_everything",
    ),
    Guard(
        "I2",
        "trigger month_is_closed",
        CLOSING,
        "RAISE EXCEPTION 'the books of % are closed', to_char(its_month, 'YYYY-MM')",
        "RAISE NOTICE 'the books of % are closed', to_char(its_month, 'YYYY-MM')",
        "tests/integration/accounting/test_month_close.py"
        "::test_the_database_lets_not_even_the_owner_book_in_a_closed_month_or_before",
    ),
    Guard(
        "I2",
        "a correction's key is unique",
        BOOKS,
        'sa.PrimaryKeyConstraint("idempotency_key", name=op.f("ledger_corrections_pkey")),',
        "",
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
    Guard(
        "I2",
        "an entry is reversed once",
        BOOKS,
        'sa.UniqueConstraint("reverses", name=op.f("an_entry_is_reversed_once")),',
        "",
        f"{LIMITS_TEST}::test_not_even_the_owner_can_break_a_rule_by_hand",
    ),
    Guard(
        "I3",
        "the key of ad_serves",
        TABLES,
        'sa.PrimaryKeyConstraint("request_key", "slot", "served_on", name=op.f("ad_serves_pkey")),',
        "",
        f"{ONCE_TEST}::test_two_workers_that_wait_for_one_budget_pay_for_a_request_once",
    ),
    Guard(
        "I3",
        "whoever ends a hold takes it away",
        HOLDS,
        """DELETE FROM holds h USING ending e WHERE h.ctid = e.place
    RETURNING h.*, e.settles, e.cause""",
        "SELECT h.*, e.settles, e.cause FROM holds h JOIN ending e ON h.ctid = e.place",
        f"{HOLDS_TEST}::test_of_an_impression_and_an_error_the_first_decides",
    ),
    Guard(
        "I3",
        "one serve leaves with one Ad",
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
        "an Ad with nothing to show is not sold",
        "app/vast/compiled_document.py",
        " for position, ad in enumerate(parsed.ads) if ad.is_playable)",
        " for position, ad in enumerate(parsed.ads))",
        f"{EVERY_AD_TEST}::test_a_document_with_several_ads_is_handed_out_as_it_is_paid",
    ),
    Guard(
        "I5",
        "no more Ads of a pod than its caps have counted",
        "app/serving/selection.py",
        "if self.is_full or len(selected) == choice.ads_allowed:",
        "if self.is_full:",
        f"{EVERY_AD_TEST}::test_what_caps_and_budgets_have_room_for_is_served_and_numbered_without_holes",
    ),
    Guard(
        "I4",
        "a request that may have been served is looked for",
        GROUP_ADMISSION,
        "keys = [pending.request_key for pending in requests if pending.progress.may_have_been_served]",
        "keys = []",
        f"{ONCE_TEST}::test_when_the_answer_of_commit_is_lost_the_ad_is_found_again",
    ),
    Guard(
        "I4",
        "with other parameters it is a conflict",
        GROUP_ADMISSION,
        "if found[0].fingerprint != pending.fingerprint:",
        "if False:",
        f"{ONCE_TEST}::test_asked_again_it_is_the_same_ad_and_with_other_parameters_a_conflict",
    ),
    Guard(
        "I4",
        "a request that got no ad is looked for once more",
        TRANSACTION,
        "resolved.update(await self._admission.answer_repeats(refused))",
        "resolved.update(refused)",
        f"{ONCE_TEST}::test_asked_again_while_the_first_attempt_takes_the_last_room_it_is_the_same_ad",
    ),
    Guard(
        "I4",
        "a request is claimed on both sides of midnight",
        SERVE_RECORDS,
        "if _is_near_midnight(now):",
        "if False:",
        f"{ONCE_TEST}::test_two_workers_that_decide_one_request_at_once_pay_for_it_once",
    ),
    Guard(
        "I5",
        "CHECK count_within_cap",
        TABLES,
        'sa.CheckConstraint("count BETWEEN 0 AND cap",',
        'sa.CheckConstraint("true",',
        f"{LIMITS_TEST}::test_the_schema_refuses_what_the_statements_let_through",
    ),
    Guard(
        "I5",
        "a count ends at its cap",
        CAPS,
        "least(f.count + excluded.count, excluded.cap)",
        "f.count + excluded.count",
        f"{LIMITS_TEST}::test_several_ads_are_counted_as_far_as_each_cap_has_room_and_given_back_as_counted",
    ),
    Guard(
        "I5",
        "if one cap has no room, none is counted",
        TRANSACTION,
        "choice.short_windows[window] = ads",
        "pass",
        f"{LIMITS_TEST}::test_a_user_sees_as_many_ads_as_every_cap_allows",
    ),
    Guard(
        "I5",
        "only what was counted is given back",
        CAPS,
        "SET count = f.count - (coalesce(short.ads, a.taken) - a.paid)",
        "SET count = f.count - (a.taken - a.paid)",
        f"{LIMITS_TEST}::test_several_ads_are_counted_as_far_as_each_cap_has_room_and_given_back_as_counted",
    ),
    Guard(
        "I6",
        "the key of ad_events",
        TABLES,
        'sa.PrimaryKeyConstraint("request_key", "slot", "served_on", "event", name=op.f("ad_events_pkey")),',
        "",
        f"{BEACONS_TEST}::test_every_event_is_recorded_once_and_answered_with_a_pixel",
    ),
    Guard(
        "I6",
        "a token's tag",
        TOKENS,
        'if compare_digest(token, f"{canonical}.{_tag(key.tag_key, payload, event).hex()}"):',
        "if canonical:",
        f"{BEACONS_TEST}::test_a_forged_altered_or_expired_beacon_gets_its_pixel_and_never_counts",
    ),
    Guard(
        "I6",
        "a tag is of one event",
        TOKENS,
        "return digest[place * TAG_BYTES : (place + 1) * TAG_BYTES]",
        "return digest[:TAG_BYTES]",
        f"{TOKENS_TEST}::test_every_event_has_a_token_that_says_which_serve_it_is_of",
    ),
    Guard(
        "I6",
        "a token's expiry",
        TOKENS,
        "return ref if ref is not None and ref.expires_at > now else None",
        "return ref",
        f"{BEACONS_TEST}::test_a_forged_altered_or_expired_beacon_gets_its_pixel_and_never_counts",
    ),
    Guard(
        "I6",
        "a click after its time is not counted",
        WEB_BEACONS,
        "if ref.expires_at <= datetime.now(UTC):",
        "if False:",
        f"{BEACONS_TEST}::test_a_click_leads_on_after_its_time_and_is_not_counted",
    ),
    Guard(
        "I5",
        "an id that many share is nobody",
        PARAMETERS,
        "return value if _is_clean(value, ID_LENGTH_MAX) and not is_shared_or_placeholder_id(value) else None",
        "return value",
        f"{PARAMETERS_TEST}::test_an_id_that_many_share_is_as_if_it_were_not_there",
    ),
    Guard(
        "I4",
        "a request id that many share names no request",
        PARAMETERS,
        """    if is_shared_or_placeholder_id(value):
        return None
    if REQUEST_ID""",
        "    if REQUEST_ID",
        f"{PARAMETERS_TEST}::test_an_id_that_many_share_is_as_if_it_were_not_there",
    ),
    Guard(
        "I7",
        "a connection on which anything went wrong is thrown away",
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
        "who has left, or was answered, does not pay",
        TRANSACTION,
        "[selection for selection in selections if not selection.choice.pending.is_done]",
        "selections",
        f"{ONCE_TEST}::test_who_has_left_while_an_ad_was_fetched_does_not_pay_for_it",
    ),
    Guard(
        "I7",
        "a connection that has ended takes no request",
        GROUP_RUNNER,
        "if connection.is_closed():",
        "if False:",
        f"{CONNECTIONS_TEST}::test_a_request_is_served_although_every_idle_connection_was_ended",
    ),
    Guard(
        "I8",
        "a request whose group is under way has a deadline",
        LANE,
        "chain(self._queue, self._in_groups)",
        "self._queue",
        f"{DEADLINES_TEST}::test_a_row_that_somebody_holds_is_waited_for_until_the_deadline_and_no_longer",
    ),
    Guard(
        "I8",
        "a request that waits has a deadline",
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
            raise TooLargeError""",
        """if received > max_bytes:
            pass""",
        "tests/unit/upstreams/test_body.py::test_a_body_that_unpacks_to_nothing_has_a_limit_too",
    ),
    Guard(
        "I8",
        "what a body unpacks to has a limit",
        "app/upstreams/unpacking.py",
        "if self._left < 0:",
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
        "app/vast/parse.py",
        "if tree.docinfo.internalDTD is not None:",
        "if False:",
        "tests/unit/vast/test_parse.py::test_a_doctype_is_found_after_parsing_too",
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
        "app/vast/markup.py",
        ".replace(']]>', ']]]]><![CDATA[>')",
        "",
        "tests/unit/vast/test_render.py::test_a_hostile_creative_comes_out_saying_the_same",
    ),
    Guard(
        "A1",
        "only placements sell a campaign that is not direct",
        CANDIDATES,
        "return (campaign.id,) if campaign is not None and campaign.direct else None",
        "return (campaign.id,) if campaign is not None else None",
        f"{ABUSE_TEST}::test_a_campaign_that_is_not_direct_is_sold_by_its_placements_alone",
    ),
    Guard(
        "A2",
        "a claimed publisher_id uses up no limit",
        CANDIDATES,
        "publisher = None if placement is None else catalog.publishers.get(placement.publisher_id)",
        "publisher = catalog.publishers.get(placement.publisher_id if placement else request.publisher_id or '')",
        f"{ABUSE_TEST}::test_a_claimed_publisher_id_uses_up_nobodys_limit",
    ),
    Guard(
        "A3",
        "what a token says of its campaign is sealed",
        TOKENS,
        "payload = nonce + _masked(seal_key, nonce, plain)",
        "payload = nonce + plain",
        f"{TOKENS_TEST}::test_nobody_without_the_key_can_read_whose_ad_it_is_or_where_a_click_leads",
    ),
    Guard(
        "A4",
        "a client above its limit gets no ads",
        "app/web/client_limits.py",
        "        if wait_s > 0:\n            return wait_s\n        self._due[key]",
        "        self._due[key]",
        "tests/acceptance/test_client_limits.py::test_a_client_above_its_limit_gets_no_ads_and_others_do",
    ),
    Guard(
        "A5",
        "a batch needs a token or a trusted network",
        "app/web/batch_ads.py",
        "        self._authorize(request)\n",
        "",
        "tests/acceptance/test_client_limits.py::test_a_batch_needs_a_token_or_a_trusted_network",
    ),
]
