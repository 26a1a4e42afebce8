"""A8: a publisher that refuses invalid traffic serves none."""

from tests.invariants.guards.guard import Guard

VERDICT = "app/traffic/verdict.py"
USER_AGENTS = "app/traffic/user_agents.py"
VERDICT_TEST = "tests/unit/traffic/test_verdict.py"
USER_AGENTS_TEST = "tests/unit/traffic/test_user_agents.py"
INVALID_TEST = "tests/acceptance/test_invalid_traffic.py"

TRAFFIC_GUARDS = [
    Guard(
        "A8",
        "an invalid request gets no ad",
        "app/serving/adserver.py",
        "        if invalidity is not None:\n",
        "        if invalidity == '':\n",
        f"{INVALID_TEST}::test_an_invalid_request_gets_no_ad_where_the_publisher_refuses_it",
    ),
    Guard(
        "A8",
        "only where the publisher refuses it",
        "app/serving/candidates.py",
        "if publisher is None or publisher.invalid_traffic is InvalidTraffic.SERVE:",
        "if publisher is None:",
        f"{INVALID_TEST}::test_an_invalid_request_gets_no_ad_where_the_publisher_refuses_it",
    ),
    Guard(
        "A8",
        "a prefetch is invalid, regardless of its user agent",
        VERDICT,
        "if is_prefetch(client.headers):",
        "if is_prefetch({}):",
        f"{VERDICT_TEST}::test_a_player_is_judged_by_its_own_headers",
    ),
    Guard(
        "A8",
        "a player names its user agent",
        VERDICT,
        "    if not user_agent.strip():\n        return InvalidReason.NO_USER_AGENT\n",
        "    if not user_agent.strip():\n        return None\n",
        f"{VERDICT_TEST}::test_a_player_is_judged_by_its_own_headers",
    ),
    Guard(
        "A8",
        "a user agent names a program",
        USER_AGENTS,
        "return len(user_agent.strip()) >= LENGTH_MIN and _POSSIBLE.fullmatch(user_agent) is not None",
        "return len(user_agent) > 0",
        f"{USER_AGENTS_TEST}::test_a_text_that_names_no_program_is_impossible",
    ),
    Guard(
        "A8",
        "every pattern of the list counts",
        USER_AGENTS,
        "for crawler in CRAWLER_USER_AGENTS_DATA]",
        "for crawler in CRAWLER_USER_AGENTS_DATA[1:]]",
        f"{USER_AGENTS_TEST}::test_every_bot_that_the_list_has_seen_is_known",
    ),
    Guard(
        "A8",
        "a player does not choose its user agent in ua",
        VERDICT,
        '    if not client.is_trusted:\n        return _judge(client.user_agent or "")\n',
        '    if not client.is_trusted:\n        return _judge(values.get("ua") or client.user_agent or "")\n',
        f"{VERDICT_TEST}::test_a_players_parameter_does_not_hide_its_user_agent",
    ),
    Guard(
        "A8",
        "a stitcher's own user agent is not judged",
        VERDICT,
        "return _judge(user_agent) if user_agent else None",
        'return _judge(user_agent or client.user_agent or "")',
        f"{VERDICT_TEST}::test_a_stitcher_is_judged_by_what_it_says_about_the_viewer",
    ),
]
