"""A1 to A5: limits for any client that can open a connection; A7: the URLs that creatives name."""

from tests.invariants.guards.guard import TOKENS, TOKENS_TEST, Guard

CANDIDATES = "app/serving/candidates.py"
ABUSE_TEST = "tests/invariants/test_abuse.py"
CHECKS_TEST = "tests/acceptance/test_creative_checks.py"

ABUSE_GUARDS = [
    Guard(
        "A1",
        "only placements sell a campaign that is not direct",
        CANDIDATES,
        "return campaign is not None and campaign.direct is True",
        "return campaign is not None",
        f"{ABUSE_TEST}::test_a_campaign_that_is_not_direct_is_sold_by_its_placements_alone",
    ),
    Guard(
        "A2",
        "a claimed publisher_id uses up no limit",
        CANDIDATES,
        "return None if placement is None else catalog.publishers.get(placement.publisher_id)",
        "return catalog.publishers.get(placement.publisher_id if placement else request.publisher_id or '')",
        f"{ABUSE_TEST}::test_a_claimed_publisher_id_uses_up_nobodys_limit",
    ),
    Guard(
        "A3",
        "the campaign in a token is sealed",
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
    Guard(
        "A7",
        "a check of creatives asks no private address",
        "app/creative_check/client.py",
        "            socket_factory=guarded_socket_factory(tuple(allowed_networks)),\n",
        "",
        f"{CHECKS_TEST}::test_no_private_network_is_reached_unless_the_operator_allows_it",
    ),
    Guard(
        "A7",
        "a check of creatives follows few redirects",
        "app/creative_check/client.py",
        "for _ in range(REDIRECTS_MAX + 1):",
        "while True:",
        f"{CHECKS_TEST}::test_a_check_ends_however_a_server_behaves",
    ),
]
