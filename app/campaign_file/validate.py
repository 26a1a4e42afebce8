"""Validation of a draft against the catalog: references, and changes that are forbidden once a campaign exists."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

from app.campaign_file.parser import Draft
from app.domain import (
    CAPS_MAX,
    Advertiser,
    BreakType,
    Campaign,
    CampaignStatus,
    CapRules,
    Catalog,
    CatalogItem,
    Creative,
    Order,
    Placement,
    PriceModel,
    Publisher,
    Upstream,
    Webhook,
    cap_rules,
)
from app.errors import FileFault
from app.upstreams.addresses import Network, is_forbidden_host


@dataclass(frozen=True)
class CatalogIndex:
    """Catalog items by type and id."""

    items: Mapping[type[CatalogItem], Mapping[str, CatalogItem]]
    campaigns_with_creatives: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def from_catalog(cls, catalog: Catalog) -> "CatalogIndex":
        """Return an index of the whole catalog."""
        return cls(
            {
                Publisher: catalog.publishers,
                Advertiser: catalog.advertisers,
                Order: catalog.orders,
                Upstream: catalog.upstreams,
                Campaign: catalog.campaigns,
                Creative: {creative.id: creative for creatives in catalog.creatives.values() for creative in creatives},
                Placement: catalog.placements,
                Webhook: catalog.webhooks,
            },
            frozenset(catalog.creatives),
        )

    def with_draft(self, draft: Draft) -> "CatalogIndex":
        """Return the index as it will be when the draft is applied."""
        new: defaultdict[type[CatalogItem], dict[str, CatalogItem]] = defaultdict(dict)
        for item in draft.items:
            new[type(item)][item.id] = item
        return CatalogIndex(
            {item_type: {**self.items.get(item_type, {}), **new[item_type]} for item_type in {*self.items, *new}},
            self.campaigns_with_creatives | {item.campaign_id for item in draft.items if isinstance(item, Creative)},
        )

    def item(self, item_type: type[CatalogItem], item_id: str) -> CatalogItem | None:
        """Return the item of this type with this id."""
        return self.items.get(item_type, {}).get(item_id)

    def campaign(self, campaign_id: str) -> Campaign | None:
        """Return the campaign with this id."""
        found = self.item(Campaign, campaign_id)
        return found if isinstance(found, Campaign) else None

    def order(self, order_id: str) -> Order | None:
        """Return the order with this id."""
        found = self.item(Order, order_id)
        return found if isinstance(found, Order) else None

    @cached_property
    def campaigns_by_order(self) -> Mapping[str, list[Campaign]]:
        """The campaigns of each order."""
        campaigns: defaultdict[str, list[Campaign]] = defaultdict(list)
        for item in self.items.get(Campaign, {}).values():
            if isinstance(item, Campaign) and item.order is not None:
                campaigns[item.order].append(item)
        return campaigns

    @cached_property
    def advertisers_of_campaigns(self) -> frozenset[str]:
        """The ids of the advertisers that campaigns name."""
        campaigns = self.items.get(Campaign, {}).values()
        return frozenset(item.advertiser for item in campaigns if isinstance(item, Campaign))

    @cached_property
    def cap_rules(self) -> Mapping[str, CapRules]:
        """The frequency caps that apply to each campaign that has any."""
        return cap_rules(item for item in self.items.get(Campaign, {}).values() if isinstance(item, Campaign))

    @cached_property
    def overcapped(self) -> Mapping[str, str]:
        """The campaigns to which too many caps apply, by each of their counters."""
        return {
            counter: campaign_id
            for campaign_id, rules in self.cap_rules.items()
            if rules.caps_count > CAPS_MAX
            for counter in rules.counters
        }


def find_faults(draft: Draft, index: CatalogIndex, webhook_networks: Sequence[Network] = ()) -> list[FileFault]:
    """Return every fault of the draft: first its own, then, in file order, those against the current catalog.

    Webhooks may lead to `webhook_networks` beside public addresses.
    """
    validator = _DraftValidator(draft, index, webhook_networks)
    return [*draft.faults, *(fault for item in draft.items for fault in validator.validate(item))]


class _DraftValidator:
    def __init__(self, draft: Draft, index: CatalogIndex, webhook_networks: Sequence[Network]) -> None:
        self._draft = draft
        self._webhook_networks = webhook_networks
        self._before = index
        self._after = index.with_draft(draft)
        self._faulty_types = {
            item_type for item_type, item_id in draft.locations if self._after.item(item_type, item_id) is None
        }

    def validate(self, item: CatalogItem) -> Iterator[FileFault]:
        location = self._draft.locations[type(item), item.id]
        for key, reason in self._faults(item):
            yield FileFault(f"{location}.{key}", reason)

    def _faults(self, item: CatalogItem) -> Iterator[tuple[str, str]]:
        """Yield the keys at fault, relative to the item, and the reasons."""
        match item:
            case Order():
                yield from self._order_faults(item)
            case Campaign():
                yield from self._faults_in_order(item)
                yield from self._unknown_references("upstreams", Upstream, item.upstreams)
                yield from self._status_faults(item)
                yield from self._cap_faults(item)
                yield from self._ad_source_faults(item)
            case Creative():
                yield from self._creative_faults(item)
            case Placement():
                yield from self._unknown_references("campaigns", Campaign, item.listed_campaigns)
                yield from self._unknown_advertisers(item)
                yield from self._break_faults(item)
            case Webhook():
                yield from self._webhook_faults(item)

    def _will_exist(self, item_type: type[CatalogItem], item_id: str) -> bool:
        """Whether the item will exist once the faults of the file are corrected."""
        return self._after.item(item_type, item_id) is not None or self._draft.has(item_type, item_id)

    def _unknown_references(
        self, key: str, item_type: type[CatalogItem], ids: tuple[str, ...]
    ) -> Iterator[tuple[str, str]]:
        for index, item_id in enumerate(ids):
            if not self._will_exist(item_type, item_id):
                yield f"{key}[{index}]", f"unknown {item_type.__name__.lower()} {item_id!r}"

    def _faults_in_order(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        """Yield the faults of a campaign as a part of its order."""
        if campaign.order is None:
            return
        order = self._after.order(campaign.order)
        if order is not None:
            yield from _misfits(campaign, order)
            is_flat = campaign.price.model is PriceModel.FLAT
            if is_flat and order.budget is not None and campaign.price.amount > order.budget:
                yield "price.flat", f"must not exceed {order.budget:f}, the budget of order {order.id!r}"
        elif not self._draft.has(Order, campaign.order):
            yield "order", f"unknown order {campaign.order!r}"

    def _order_faults(self, order: Order) -> Iterator[tuple[str, str]]:
        """Yield the faults of an order: an unknown advertiser, and keys that campaigns outside the draft do not fit."""
        if not self._is_known_advertiser(order.advertiser):
            yield "advertiser", f"unknown advertiser {order.advertiser!r}"
        misfits: dict[str, Campaign] = {}
        for campaign in self._after.campaigns_by_order.get(order.id, ()):
            if not self._draft.has(Campaign, campaign.id):
                for key, _ in _misfits(campaign, order):
                    misfits.setdefault(key, campaign)
        for key, campaign in misfits.items():
            yield key, f"must fit campaign {campaign.id!r}, whose {key} is {_as_text(getattr(campaign, key))}"

    def _unknown_advertisers(self, placement: Placement) -> Iterator[tuple[str, str]]:
        """Yield the blocked advertisers that do not exist: their names may be misspelled."""
        for index, advertiser_id in enumerate(placement.blocked_advertisers):
            if not self._is_known_advertiser(advertiser_id):
                yield f"blocked_advertisers[{index}]", f"unknown advertiser {advertiser_id!r}"

    def _break_faults(self, placement: Placement) -> Iterator[tuple[str, str]]:
        """Yield the faults of ad breaks in comparison with the placements that fill them."""
        for index, ad_break in enumerate(placement.ad_breaks):
            placement_id = ad_break.placement_id or placement.id
            filled_by = self._after.item(Placement, placement_id)
            if not self._will_exist(Placement, placement_id):
                yield f"ad_breaks[{index}].placement_id", f"unknown placement {placement_id!r}"
            elif (
                ad_break.break_type is not BreakType.LINEAR
                and isinstance(filled_by, Placement)
                and not self._has_only_upstreams(filled_by)
            ):
                reason = f"requires campaigns with upstreams only: creatives, as {placement_id!r} may have, are linear"
                yield f"ad_breaks[{index}].break_type", reason

    def _has_only_upstreams(self, placement: Placement) -> bool:
        """Whether no campaign of the placement has creatives, which are all linear."""
        campaigns = [self._after.campaign(campaign_id) for campaign_id in placement.listed_campaigns]
        return bool(campaigns) and all(campaign is None or campaign.upstreams for campaign in campaigns)

    def _is_known_advertiser(self, advertiser_id: str) -> bool:
        """Whether the advertiser exists, or will exist because a campaign names it."""
        return (
            self._will_exist(Advertiser, advertiser_id)
            or advertiser_id in self._after.advertisers_of_campaigns
            # A campaign with a fault may name it.
            or Campaign in self._faulty_types
        )

    def _status_faults(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        before = self._before.campaign(campaign.id)
        if before and before.status is CampaignStatus.ENDED and campaign.status is not CampaignStatus.ENDED:
            yield "status", "must stay 'ended': an ended campaign cannot be resumed"

    def _cap_faults(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        """Yield a fault if too many caps apply to the campaign, or to another one that shares its caps."""
        rules = self._after.cap_rules.get(campaign.id)
        for counter in rules.counters if rules else ():
            if overcapped := self._after.overcapped.get(counter):
                count = self._after.cap_rules[overcapped].caps_count
                yield "frequency_caps", f"at most {CAPS_MAX} caps may apply to campaign {overcapped!r}, got {count}"
                return

    def _ad_source_faults(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        has_creatives = campaign.id in self._after.campaigns_with_creatives
        # A creative with a fault may belong to the campaign.
        has_ads = campaign.upstreams or has_creatives or Creative in self._faulty_types
        if campaign.upstreams and has_creatives:
            yield "upstreams", "must be empty, because the campaign has creatives"
        elif campaign.status is CampaignStatus.ACTIVE and not has_ads:
            yield "upstreams", "an active campaign requires upstreams or creatives"

    def _creative_faults(self, creative: Creative) -> Iterator[tuple[str, str]]:
        if not self._will_exist(Campaign, creative.campaign_id):
            yield "campaign_id", f"unknown campaign {creative.campaign_id!r}"
        before = self._before.item(Creative, creative.id)
        if isinstance(before, Creative) and before.campaign_id != creative.campaign_id:
            yield "campaign_id", f"must stay {before.campaign_id!r}: a creative cannot move to another campaign"
        campaign = self._after.campaign(creative.campaign_id)
        if campaign and campaign.upstreams and not self._draft.has(Campaign, campaign.id):
            yield "campaign_id", f"must not be {campaign.id!r}, which gets its ads from upstreams"

    def _webhook_faults(self, webhook: Webhook) -> Iterator[tuple[str, str]]:
        if webhook.secret is None and self._before.item(Webhook, webhook.id) is None:
            yield "secret", "is required for a new webhook"
        host = urlsplit(webhook.url).hostname or ""
        if is_forbidden_host(host, self._webhook_networks):
            yield "url", f"must lead to a public address or into ADSERVER_WEBHOOK_PRIVATE_NETWORKS, got host {host!r}"


def _misfits(campaign: Campaign, order: Order) -> Iterator[tuple[str, str]]:
    """Yield the keys in which the campaign does not fit its order, and what the order requires."""
    if campaign.advertiser != order.advertiser:
        yield "advertiser", f"must be {order.advertiser!r}, the advertiser of order {order.id!r}"
    if campaign.currency != order.currency:
        yield "currency", f"must be {order.currency}, the currency of order {order.id!r}"
    if order.starts_at is not None and campaign.starts_at < order.starts_at:
        yield "starts_at", f"must not be before {_as_text(order.starts_at)}, the start of order {order.id!r}"
    if order.ends_at is not None and campaign.ends_at > order.ends_at:
        yield "ends_at", f"must not be after {_as_text(order.ends_at)}, the end of order {order.id!r}"


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def missing_advertisers(draft: Draft, index: CatalogIndex) -> list[Advertiser]:
    """Return advertisers for the ids that campaigns name and that do not exist yet."""
    named = dict.fromkeys(item.advertiser for item in draft.items if isinstance(item, Campaign))
    return [
        Advertiser(advertiser_id, advertiser_id)
        for advertiser_id in named
        if index.item(Advertiser, advertiser_id) is None and not draft.has(Advertiser, advertiser_id)
    ]


def missing_publishers(draft: Draft, index: CatalogIndex) -> list[Publisher]:
    """Return publishers without limits for the ids that placements name and that do not exist yet."""
    named = dict.fromkeys(item.publisher_id for item in draft.items if isinstance(item, Placement))
    return [
        Publisher(publisher_id, publisher_id)
        for publisher_id in named
        if index.item(Publisher, publisher_id) is None and not draft.has(Publisher, publisher_id)
    ]
