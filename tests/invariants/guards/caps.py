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

CAPS_GUARDS = [
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
        "choice.short_windows[window] = ads",
        "pass",
        f"{LIMITS_TEST}::test_a_user_sees_as_many_ads_as_every_cap_allows",
    ),
    Guard(
        "I5",
        "only what was counted is given back",
        CAPS,
        "SET count = f.count - (coalesce(shortfall.ads, a.taken) - a.paid)",
        "SET count = f.count - (a.taken - a.paid)",
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
