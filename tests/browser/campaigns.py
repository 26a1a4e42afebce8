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


CAMPAIGNS = "\n".join(
    (
        _own("own"),
        _own("capped", more='frequency_caps = [ { impressions = 3, per = "day" } ]\n'),
        _own("seen", more='billing = "impression"\n'),
        _own("broken", media="missing.mp4", more='billing = "impression"\n'),
        _own("first"),
        _own("second").replace('"Acme"', '"Globex"'),
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
