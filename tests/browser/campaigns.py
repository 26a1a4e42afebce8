"""The campaign file of the browser tests."""

COMMON = """
currency = "USD"
starts_at = 2020-01-01T00:00:00Z
ends_at = 2100-01-01T00:00:00Z
advertiser = "Acme"
cpm = "2500.00"
budgets = { lifetime = "100000.00" }
direct = true
"""


def _own(campaign_id: str, media: str = "ad.mp4", creatives: int = 1, more: str = "") -> str:
    parts = [f'[[campaigns]]\nid = "{campaign_id}"{COMMON}{more}']
    parts += [
        f"""
[[creatives]]
id = "{campaign_id}-{number}"
campaign_id = "{campaign_id}"
title = "Acme {number}"
duration_s = 2
click_through = "{{site}}/landing?from={campaign_id}&a=b"
media_files = [ {{ url = "{{site}}/media/{media}", type = "video/mp4", width = 640, height = 360 }} ]
"""
        for number in range(1, creatives + 1)
    ]
    return "\n".join(parts)


def _network(name: str) -> str:
    return f"""
[[upstreams]]
id = "{name}"
tag_url = "{{site}}/network/{name}"

[[campaigns]]
id = "network-{name}"{COMMON}upstreams = ["{name}"]
"""


MEASURED = (
    f'[[campaigns]]\nid = "measured"{COMMON}order = "acme-2026"\n'
    + """
[[creatives]]
id = "measured-1"
campaign_id = "measured"
title = "Measured"
duration_s = 2.04
click_through = "{site}/landing"
media_files = [ { url = "{site}/media/ad.mp4", type = "video/mp4", width = 640, height = 360 } ]
impression_urls = ["{site}/seen/third-impression?cb=[CACHEBUSTING]"]
tracking = [
    { event = "start", url = "{site}/seen/third-start" },
    { event = "complete", url = "{site}/seen/third-complete" },
]

[[creatives.ad_verifications]]
vendor = "third.example-omid"
javascript_resources = [ { url = "{site}/static/omid.js" } ]
not_executed_urls = ["{site}/seen/third-missed?reason=[REASON]"]
parameters = "campaign=4711"
"""
)
"""A sold order that a third party measures."""

ORDER = """
[[orders]]
id = "acme-2026"
advertiser = "Acme"
currency = "USD"
budget = "5000.00"
"""

CAMPAIGNS = "\n".join(
    (
        _own("own"),
        _own("capped", more='frequency_caps = [ { impressions = 3, per = "day" } ]\n'),
        _own("seen", more='billing = "impression"\n'),
        _own("broken", media="missing.mp4", more='billing = "impression"\n'),
        _own("first"),
        _own("second").replace('"Acme"', '"Globex"'),
        ORDER,
        MEASURED,
        _network("inline"),
        _network("wrapper"),
        _network("empty"),
        """
[[publishers]]
id = "publisher1"

[[publishers]]
id = "demo-tv"

[[placements]]
id = "demo"
publisher_id = "demo-tv"
campaigns = ["capped"]

[[placements]]
id = "pod"
publisher_id = "publisher1"
campaigns = ["first", "second"]

[[placements]]
id = "breaks"
publisher_id = "publisher1"
campaigns = ["own"]
ad_breaks = [
    { id = "pre", time_offset = "start" },
    { id = "mid", time_offset = "50%" },
    { id = "post", time_offset = "end" },
]
""",
    )
)
