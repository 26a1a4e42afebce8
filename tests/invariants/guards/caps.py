"""I5: no user sees a campaign more often than its caps allow."""

from tests.invariants.guards.guard import (
    EVERY_AD_TEST,
    LIMITS_TEST,
    PARAMETERS,
    PARAMETERS_TEST,
    SERVING_TABLES,
    TRANSACTION,
    Guard,
)

CAPS = "app/store/caps.py"
CAP_LEVELS_TEST = "tests/integration/serving/test_cap_levels.py"

CAPS_GUARDS = [
    Guard(
        "I5",
        "a cap of an order or an advertiser applies to all of its campaigns",
        "app/store/sql_fragments.py",
        "w.counter = ANY (ARRAY[c.id, ' order ' || c.order_id, ' advertiser ' || c.advertiser_id])",
        "w.campaign_id = c.id",
        f"{CAP_LEVELS_TEST}::test_campaigns_share_the_count_of_their_order_and_advertiser",
    ),
    Guard(
        "I5",
        "the pre-check knows the caps of every level",
        "app/store/candidate_checks.py",
        "f.campaign_id = w.counter",
        "f.campaign_id = w.campaign_id",
        f"{CAP_LEVELS_TEST}::test_the_pre_check_knows_what_the_campaigns_share",
    ),
    Guard(
        "I5",
        "each creative that was not paid for is given back",
        CAPS,
        "(p.creative_id IS NOT NULL)::integer",
        "1",
        f"{CAP_LEVELS_TEST}::test_what_was_not_paid_for_is_given_back_at_every_level",
    ),
    Guard(
        "I5",
        "only plain caps take the short statement",
        TRANSACTION,
        "is_plain=self._have_plain_caps(choice.campaign.id for choice in counted)",
        "is_plain=True",
        "tests/acceptance/test_cap_levels.py::test_each_creative_is_served_as_often_as_its_cap_allows",
    ),
    Guard(
        "I5",
        "a group counts one ad for a user and a shared cap",
        "app/serving/chooser.py",
        "for counter in self._catalog.cap_rules[choice.campaign.id].counters\n",
        "for counter in (choice.campaign.id,)\n",
        "tests/unit/serving/test_chooser.py::test_one_group_counts_an_ad_for_a_user_and_a_shared_cap_once",
    ),
    Guard(
        "I5",
        "a creative that reached its cap is not chosen again",
        "app/serving/chooser.py",
        "if creative_counter(item.id) not in progress.refusals",
        "if True",
        "tests/unit/serving/test_chooser.py::test_a_creative_that_reached_its_cap_is_not_chosen_again",
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
        "I5",
        "CHECK count_within_cap",
        SERVING_TABLES,
        'CheckConstraint("count BETWEEN 0 AND cap",',
        'CheckConstraint("true",',
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
        "choice.short_windows[counter, window] = ads",
        "pass",
        f"{LIMITS_TEST}::test_a_user_sees_as_many_ads_as_every_cap_allows",
    ),
    Guard(
        "I5",
        "only what was counted is given back",
        CAPS,
        "SET count = f.count - (coalesce(shortfall.ads, a.ads) - a.kept)",
        "SET count = f.count - (a.ads - a.kept)",
        f"{LIMITS_TEST}::test_several_ads_are_counted_as_far_as_each_cap_has_room_and_given_back_as_counted",
    ),
    Guard(
        "I5",
        "a user id that many share counts as no user",
        PARAMETERS,
        "return value if _is_clean(value, ID_LENGTH_MAX) and not is_shared_or_placeholder_id(value) else None",
        "return value",
        f"{PARAMETERS_TEST}::test_an_id_that_many_share_is_as_if_it_were_not_there",
    ),
]
