"""T2 and T3: what was taken down is not served, and only what a request matches is."""

from tests.invariants.guards.guard import Guard

TAKE_DOWN_TEST = "tests/integration/setup/test_take_down.py"
MATCHER = "app/targeting/matcher.py"
MATCHER_TEST = "tests/unit/targeting/test_matcher.py"
TARGETED = "app/serving/targeted_candidates.py"
TARGETED_TEST = "tests/unit/serving/test_targeted_candidates.py"
INDEX = "app/targeting/campaign_index.py"
INDEX_TEST = "tests/unit/targeting/test_campaign_index.py"

TARGETING_GUARDS = [
    Guard(
        "T2",
        "a take-down waits for the ads that are being paid for",
        "app/campaign_file/apply.py",
        "        if self._takes_down(items):\n",
        "        if self._takes_down([]):\n",
        f"{TAKE_DOWN_TEST}::test_a_take_down_waits_for_ads_that_are_being_paid_for",
    ),
    Guard(
        "T2",
        "only a creative that runs is chosen",
        "app/serving/chooser.py",
        "if creative.is_running(now) and (",
        "if (",
        "tests/unit/serving/test_chooser.py::test_only_a_creative_that_runs_is_served",
    ),
    Guard(
        "T3",
        "a request needs a value of every list",
        MATCHER,
        "            if not rule.matches(facts):\n",
        "            if not facts:\n",
        f"{MATCHER_TEST}::test_a_request_with_other_values_does_not",
    ),
    Guard(
        "T3",
        "a request may have no excluded value",
        MATCHER,
        "            if rule.matches(facts):\n",
        "            if not facts:\n",
        f"{MATCHER_TEST}::test_a_request_with_one_of_the_values_matches",
    ),
    Guard(
        "T3",
        "hours of the week",
        MATCHER,
        "        return not self._hours or self.is_in_daypart(viewer, now)\n",
        "        return True\n",
        f"{MATCHER_TEST}::test_dayparts_are_hours_of_the_campaigns_timezone",
    ),
    Guard(
        "T3",
        "a player cannot claim to be elsewhere",
        "app/targeting/viewer.py",
        "    return (sent or seen) if is_trusted else (seen or sent)\n",
        "    return sent or seen\n",
        "tests/unit/targeting/test_viewer.py::test_what_anybody_sends_counts_only_where_nothing_is_seen",
    ),
    Guard(
        "T3",
        "a placement blocks advertisers and categories in its list",
        MATCHER,
        "            if campaign_id in blocked or not self.accepts(campaign_id, facts, viewer, moment)\n",
        "            if not self.accepts(campaign_id, facts, viewer, moment)\n",
        f"{MATCHER_TEST}::test_blocks_hold_beside_targeting",
    ),
    Guard(
        "T3",
        "a targeted placement blocks advertisers and categories",
        TARGETED,
        "viewer, moment) or is_blocked(campaign, placement):\n",
        "viewer, moment):\n",
        f"{TARGETED_TEST}::test_a_placement_blocks_advertisers_and_categories",
    ),
    Guard(
        "T3",
        "a targeted placement asks each campaign for its targeting",
        TARGETED,
        "        if not self._matcher.accepts(campaign_id, facts, viewer, moment) or",
        "        if",
        f"{TARGETED_TEST}::test_every_campaign_that_matches_is_tried_once",
    ),
    Guard(
        "T5",
        "the index has campaigns without a list",
        INDEX,
        "        found = [self._everywhere] if self._everywhere else []\n",
        "        found: list[Tiers] = []\n",
        f"{INDEX_TEST}::test_no_matching_campaign_is_missed",
    ),
    Guard(
        "T5",
        "the index has values with an asterisk",
        INDEX,
        "            if tiers := self._tiers.get((criterion, value[:length] + PREFIX_MARK)):\n",
        "            if tiers := self._tiers.get((criterion, value + PREFIX_MARK)):\n",
        f"{INDEX_TEST}::test_a_value_with_an_asterisk_is_found_by_its_beginning",
    ),
    Guard(
        "T5",
        "a lower priority number comes first",
        TARGETED,
        "        for priority in sorted({priority for tiers in found for priority in tiers}):\n",
        "        for priority in dict.fromkeys(priority for tiers in found for priority in tiers):\n",
        f"{TARGETED_TEST}::test_a_lower_priority_number_comes_first",
    ),
    Guard(
        "T5",
        "a campaign with more weight is drawn more often",
        TARGETED,
        "        return tier.weighted[bisect_right(tier.cumulative_weights, point)]\n",
        "        return tier.weighted[point % len(tier.weighted)]\n",
        f"{TARGETED_TEST}::test_within_a_priority_the_first_is_drawn_by_weight",
    ),
    Guard(
        "T5",
        "a campaign with several values of the request is not drawn more often",
        TARGETED,
        "    return None if any(campaign_id in earlier.members for earlier in pools[:index]) else campaign_id\n",
        "    return campaign_id\n",
        f"{TARGETED_TEST}::test_all_orders_are_as_likely_as_drawing_one_after_the_other",
    ),
    Guard(
        "T5",
        "who is furthest behind its goal comes first",
        "app/serving/pace.py",
        "            goals = sorted(tier.goals, key=self.lead)\n",
        "            goals = [*tier.goals]\n",
        f"{TARGETED_TEST}::test_who_is_furthest_behind_its_goal_comes_first_and_who_is_ahead_comes_last",
    ),
    Guard(
        "T5",
        "a retry tries the campaigns in the same order",
        TARGETED,
        "draws = Draws(seed)",
        "draws = Draws(id(facts))",
        f"{TARGETED_TEST}::test_a_retry_tries_the_campaigns_in_the_same_order",
    ),
]
