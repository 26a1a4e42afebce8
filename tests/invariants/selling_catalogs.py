"""Catalogs drawn at random for the model of what may be sold, and the same catalogs as campaign files."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from tests.campaigns import campaign, creative, order, placement
from tests.invariants.selling_model import PERIODS, Campaign, Cap, Creative, Limit, Order, Placement

ORDERS = {"spring": "acme", "fall": "zest"}
"""The advertiser of each order."""
ADVERTISERS = ("acme", "zest", "orbit")
IDS = ("a", "b", "c", "d", "e")
CATEGORIES = ("IAB1", "IAB2")
UNITS = {"cpm": "impressions", "cpc": "clicks", "cpcv": "completions"}

some_limits = st.builds(
    Limit,
    amount=st.none() | st.integers(0, 16).map(Decimal),
    units=st.none() | st.integers(0, 10),
).filter(lambda limit: limit != Limit())
some_budgets = st.dictionaries(st.sampled_from(PERIODS), some_limits, max_size=2)
some_caps = st.lists(
    st.builds(
        Cap,
        impressions=st.integers(1, 6),
        window=st.sampled_from(["hour", "day", "90 minutes", "3 days", "session"]),
    )
    | st.builds(Cap, impressions=st.integers(1, 2), window=st.just("day"), level=st.just("creative"))
    | st.builds(Cap, impressions=st.integers(2, 8), window=st.just("3 days"), level=st.just("order"))
    | st.builds(Cap, impressions=st.integers(3, 9), window=st.just("day"), level=st.just("advertiser")),
    max_size=3,
    unique_by=lambda cap: (cap.level, cap.window),
).map(tuple)
some_sales = st.one_of(
    st.sampled_from(["serve", "impression"]).map(lambda billing: ("cpm", billing)),
    st.sampled_from([("cpc", "click"), ("cpcv", "complete")]),
)
some_blocks = st.builds(
    Placement,
    id=st.just("blocking"),
    blocked_advertisers=st.lists(st.sampled_from(ADVERTISERS), max_size=1).map(tuple),
    blocked_categories=st.lists(st.sampled_from(CATEGORIES), max_size=1).map(tuple),
)


@st.composite
def some_creatives(draw: st.DrawFn, campaign_id: str, now: datetime) -> tuple[Creative, ...]:
    """One to three creatives; some of them end soon, but not at a moment at which the clock stops."""
    return tuple(
        Creative(
            f"{campaign_id}{number}",
            draw(st.sampled_from([10, 15, 15, 30])),
            ends_at=draw(st.sampled_from([None, None, None, now + timedelta(hours=3, minutes=5)])),
        )
        for number in range(draw(st.integers(1, 3)))
    )


@st.composite
def some_campaigns(draw: st.DrawFn, campaign_id: str, now: datetime) -> Campaign:
    """A campaign of one of three advertisers, two of which have an order."""
    advertiser = draw(st.sampled_from(ADVERTISERS))
    orders = [order_id for order_id, owner in ORDERS.items() if owner == advertiser]
    model, billing = draw(some_sales)
    order_id = draw(st.sampled_from([None, *orders, *orders]))
    caps = draw(some_caps)
    return Campaign(
        campaign_id,
        advertiser,
        order_id,
        price_model=model,
        price=draw(st.sampled_from(["1", "0.5", "2", "1.25", "0"]).map(Decimal)),
        billing=billing,
        budgets=draw(some_budgets),
        caps=tuple(cap for cap in caps if cap.level != "order" or order_id is not None),
        without_user=draw(st.sampled_from(["skip", "serve"])),
        hold_ttl=draw(st.sampled_from([timedelta(minutes=10), timedelta(hours=30)])),
        late=draw(st.sampled_from(["ignore", "charge"])),
        priority=draw(st.sampled_from([1, 5, 5, 9])),
        weight=draw(st.integers(1, 3)),
        categories=draw(st.lists(st.sampled_from(CATEGORIES), max_size=1).map(tuple)),
        ads_per_pod=draw(st.integers(1, 2)),
        creatives=draw(some_creatives(campaign_id, now)),
    )


@st.composite
def some_catalogs(draw: st.DrawFn, now: datetime) -> tuple[list[Campaign], list[Order], list[Placement]]:
    """Five campaigns, two orders, and placements with a list, without one, and with blocks."""
    campaigns = [draw(some_campaigns(campaign_id, now)) for campaign_id in IDS]
    orders = [Order(order_id, owner, draw(some_limits)) for order_id, owner in ORDERS.items()]
    listed = tuple(draw(st.permutations(IDS)))[: draw(st.integers(2, len(IDS)))]
    return campaigns, orders, [Placement("listed", listed), Placement("targeted"), draw(some_blocks)]


def advertiser_in_file(advertiser_id: str) -> str:
    """Return the advertiser in the format of a campaign file."""
    return f'[[advertisers]]\nid = "{advertiser_id}"\nname = "{advertiser_id}"\n'


def campaign_in_file(model: Campaign) -> str:
    """Return the campaign and its creatives in the format of a campaign file."""
    per_unit = {"cpm": str((model.price * 1000).quantize(Decimal("0.001")))}
    price = per_unit if model.price_model == "cpm" else {"price": {model.price_model: str(model.price)}}
    shared = {} if model.order is None else {"order": model.order}
    return campaign(
        model.id,
        advertiser=model.advertiser,
        status=model.status,
        **price,
        **shared,
        billing=model.billing,
        budgets={period: _limit(limit, UNITS[model.price_model]) for period, limit in model.budgets.items()},
        frequency_caps=[_cap(cap) for cap in model.caps],
        without_user=model.without_user,
        hold_ttl_s=int(model.hold_ttl.total_seconds()),
        late_impressions=model.late,
        priority=model.priority,
        weight=model.weight,
        categories=list(model.categories),
        ads_per_pod=model.ads_per_pod,
    ) + "".join(creative_in_file(film, model.id) for film in model.creatives)


def creative_in_file(model: Creative, campaign_id: str) -> str:
    """Return the creative in the format of a campaign file."""
    end = {} if model.ends_at is None else {"ends_at": model.ends_at.isoformat()}
    return creative(model.id, campaign_id, duration_s=model.duration_s, status=model.status, **end)


def order_in_file(model: Order) -> str:
    """Return the order in the format of a campaign file."""
    amount = {} if model.limit.amount is None else {"budget": str(model.limit.amount)}
    units = {} if model.limit.units is None else {"impressions": model.limit.units}
    return order(model.id, advertiser=model.advertiser, **amount, **units)


def placement_in_file(model: Placement) -> str:
    """Return the placement in the format of a campaign file."""
    campaigns: object = "targeted" if model.campaigns is None else list(model.campaigns)
    return placement(
        model.id,
        campaigns=campaigns,
        blocked_advertisers=list(model.blocked_advertisers),
        blocked_categories=list(model.blocked_categories),
    )


def with_status(model: Campaign, creative_id: str, status: str) -> Campaign:
    """Return the campaign with another status of one creative."""
    films = (replace(film, status=status) if film.id == creative_id else film for film in model.creatives)
    return replace(model, creatives=tuple(films))


def _limit(limit: Limit, unit: str) -> dict[str, object]:
    amount = {} if limit.amount is None else {"amount": str(limit.amount)}
    return amount if limit.units is None else {**amount, unit: limit.units}


def _cap(cap: Cap) -> dict[str, object]:
    window = "every" if cap.window[0].isdigit() else "per"
    level = {} if cap.level == "campaign" else {"level": cap.level}
    return {"impressions": cap.impressions, window: cap.window, **level}
