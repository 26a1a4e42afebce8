"""P1 to P3: a pod that is too short costs nothing, and every pod and viewing session keeps its rules."""

from tests.invariants.guards.guard import TRANSACTION, Guard

PODS_TEST = "tests/invariants/test_pods.py"
FILLING = "app/serving/pod_filling.py"
FILLING_TEST = "tests/unit/serving/test_pod_filling.py"
FILLED_TEST = (
    f"{FILLING_TEST}::test_candidates_take_slots_in_order_until_one_is_too_long_and_then_no_other_pod_is_worth_more"
)
CHOOSER = "app/serving/chooser.py"
VMAP = "app/web/vmap.py"
VMAP_TEST = "tests/acceptance/test_vmap.py"

PODS_GUARDS = [
    Guard(
        "P1",
        "a part of a pod is not paid for",
        TRANSACTION,
        "            raise PodTooShortError(pending)\n",
        "            pass\n",
        f"{PODS_TEST}::test_nothing_is_paid_for_a_pod_that_is_too_short",
    ),
    Guard(
        "P1",
        "a pod whose upstreams have too few ads is not paid for",
        TRANSACTION,
        "        if selected and pending.request.pod_size > 1 and is_too_short(selected):\n",
        "        if not selected:\n",
        f"{PODS_TEST}::test_an_upstream_with_too_few_ads_is_not_paid_for",
    ),
    Guard(
        "P1",
        "a pod with too few candidates is not served",
        CHOOSER,
        "        return choices if sum(choice.ads_max for choice in choices) >= request.min_ads else []\n",
        "        return choices\n",
        "tests/unit/serving/test_chooser.py::test_a_pod_with_too_few_ads_is_not_served",
    ),
    Guard(
        "P1",
        "each ad of a campaign in a pod is counted",
        CHOOSER,
        "            len(creatives) or _ads_max(pending.request.pod_size, fetched),\n",
        "            1 if creatives else _ads_max(pending.request.pod_size, fetched),\n",
        f"{PODS_TEST}::test_a_cap_is_counted_for_each_ad_of_a_campaign",
    ),
    Guard(
        "P2",
        "a pod is no longer than its time",
        FILLING,
        "        fitting = [creative for creative in usable if duration_ms(creative) <= left.time_ms]\n",
        "        fitting = usable\n",
        FILLED_TEST,
    ),
    Guard(
        "P2",
        "the most valuable ads are no competitors",
        "app/serving/best_fit.py",
        "            if item_length > room or marks & blocked or self._left[group] == 0:\n",
        "            if item_length > room or self._left[group] == 0:\n",
        f"{FILLING_TEST}::test_competitors_do_not_share_a_pod_that_is_filled_for_its_value",
    ),
    Guard(
        "P2",
        "competitors do not share a pod",
        FILLING,
        "        return self.slots > 0 and (not self.keys or self.keys.isdisjoint(competitor_keys(campaign)))\n",
        "        return self.slots > 0\n",
        f"{FILLING_TEST}::test_competitors_do_not_share_a_pod",
    ),
    Guard(
        "P3",
        "a competitor does not follow in a viewing session",
        CHOOSER,
        "        if competitor_before(self._catalog, pending, campaign):\n",
        "        if not campaign:\n",
        "tests/unit/serving/test_chooser.py::test_in_a_session_another_advertiser_of_a_common_category_does_not_follow",
    ),
    Guard(
        "P3",
        "a viewing session knows its last answer",
        "app/store/sessions.py",
        "    last_campaigns = a.campaign_ids\n",
        "    last_campaigns = s.last_campaigns\n",
        "tests/acceptance/test_viewing_sessions.py::test_no_competitor_follows_in_a_session",
    ),
    Guard(
        "P2",
        "a position is taken once",
        FILLING,
        "        if not self.orders:\n",
        "        if self.slots:\n",
        f"{FILLING_TEST}::test_a_pod_has_one_first_ad",
    ),
    Guard(
        "P2",
        "a lower priority displaces nothing",
        FILLING,
        "lambda candidate: candidate.campaign.priority",
        "lambda candidate: 0",
        f"{FILLING_TEST}::test_a_lower_priority_displaces_nothing",
    ),
    Guard(
        "P2",
        "a bumper is not served alone",
        CHOOSER,
        "creative.is_running(now) and (in_pod or not creative.bumper)",
        "creative.is_running(now)",
        f"{PODS_TEST}::test_ads_have_their_positions_in_the_answer",
    ),
    Guard(
        "I3",
        "ads of a repeated break are not embedded",
        VMAP,
        "                if ad_break.repeat_every is None\n",
        "",
        f"{VMAP_TEST}::test_ads_of_a_repeated_break_are_not_embedded",
    ),
    Guard(
        "I3",
        "each repetition of a break is a request of its own",
        VMAP,
        "    if request_id is not None and ad_break.repeat_every is None:\n",
        "    if request_id is not None:\n",
        f"{VMAP_TEST}::test_breaks_say_of_what_kind_they_are_and_when_they_are_repeated",
    ),
    Guard(
        "P2",
        "a break that is not linear has no linear creatives",
        "app/campaign_file/validate.py",
        "                ad_break.break_type is not BreakType.LINEAR\n",
        "                not ad_break.break_type\n",
        "tests/unit/campaign_file/test_validate.py::test_a_break_that_is_not_linear_needs_campaigns_with_upstreams",
    ),
]
