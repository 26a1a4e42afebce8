"""The campaign file of the bench: what the server serves while it is measured."""

from bench.scale import ADS_PER_POD, CAMPAIGNS, PLACEMENTS, TARGETED_PLACEMENTS

# Room for every ad of the bench, because only ads that were paid for count.
TERMS = """
advertiser = "Acme"
status = "active"
currency = "USD"
starts_at = 2026-01-01T00:00:00Z
ends_at = 2036-01-01T00:00:00Z
cpm = "2.500"
budgets = { day = "1000000.00", lifetime = "100000000.00" }
direct = true
"""
CAPS = 'frequency_caps = [ { impressions = 100000, per = "day" }, { impressions = 500000, per = "week" } ]'


def campaign_file(upstream_url: str) -> str:
    """Campaigns c1 to c100 with own creatives; seen1 to seen100, billed by impression; and fetched1, an upstream's.

    Placements break1 to break25 have four of the first each.
    """
    numbers = range(1, CAMPAIGNS + 1)
    return "\n".join(
        [
            *(_campaign(f"c{number}", CAPS) + creative(f"c{number}") for number in numbers),
            *(_campaign(f"seen{number}", 'billing = "impression"') + creative(f"seen{number}") for number in numbers),
            _campaign("fetched1", CAPS + '\nupstreams = ["bench"]'),
            _upstream(upstream_url),
            *(_placement(number) for number in range(1, PLACEMENTS + 1)),
        ]
    )


def targeted_file(campaigns: int) -> str:
    """Campaigns t1, t2, ..., each for one of 100 placements (targeted1 exists) and for one of those with a list."""
    return "\n".join(
        [
            *(_targeted(number) for number in range(1, campaigns + 1)),
            '[[placements]]\nid = "targeted1"\npublisher_id = "bench"\ncampaigns = "targeted"\n',
            *(
                f'[[placements]]\nid = "{_listed(number)}"\npublisher_id = "bench"\ncampaigns = ["t{number}"]\n'
                for number in range(1, campaigns + 1, TARGETED_PLACEMENTS)
            ),
        ]
    )


def _listed(number: int) -> str:
    """The placement with a list of the first of 100 campaigns."""
    return f"listed{(number - 1) // TARGETED_PLACEMENTS + 1}"


def _targeted(number: int) -> str:
    placements = [f"targeted{number % TARGETED_PLACEMENTS}", _listed(number)]
    return _campaign(f"t{number}", f"targeting = {{ placements = {placements} }}\n{CAPS}") + creative(f"t{number}")


def _campaign(campaign_id: str, more: str) -> str:
    return f'[[campaigns]]\nid = "{campaign_id}"{TERMS}{more}\n'


def _placement(number: int) -> str:
    """A placement with the next campaigns of c1 to c100."""
    campaigns = [f"c{index}" for index in range((number - 1) * ADS_PER_POD + 1, number * ADS_PER_POD + 1)]
    return f'[[placements]]\nid = "break{number}"\npublisher_id = "bench"\ncampaigns = {campaigns}\n'


def creative(campaign_id: str) -> str:
    """The creative of a campaign."""
    return f"""
[[creatives]]
id = "creative-of-{campaign_id}"
campaign_id = "{campaign_id}"
title = "Acme"
duration_s = 15
click_through = "https://acme.example/"
media_files = [ {{ url = "https://cdn.example/acme.mp4", type = "video/mp4", width = 1280, height = 720 }} ]
"""


def _upstream(url: str) -> str:
    return f"""
[[upstreams]]
id = "bench"
tag_url = "{url}/vast?cb=[CACHEBUSTING]"
timeout_ms = 800
cache_ttl_s = 0
max_in_flight = 1000
"""
