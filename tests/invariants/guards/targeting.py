"""T2 and T3: what was taken down is not served, and only what a request matches is."""

from tests.invariants.guards.guard import Guard

TAKE_DOWN_TEST = "tests/integration/setup/test_take_down.py"
MATCHER = "app/targeting/matcher.py"
MATCHER_TEST = "tests/unit/targeting/test_matcher.py"

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
        "    return [creative for creative in creatives if creative.is_running(now)]\n",
        "    return creatives\n",
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
]
