"""The tables of a campaign file, as strict models that reject unknown keys.

The admin API uses the same models for its request bodies. Each model returns the domain object, with lists in the order
in which the database returns them.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from app import domain
from app.campaign_file import fields
from app.campaign_file.campaign_tables import CampaignTable
from app.campaign_file.creative_tables import CreativeTable
from app.campaign_file.fields import Identifier, NoDuplicates, Url, Word
from app.campaign_file.placement_tables import PlacementTable
from app.campaign_file.table import LIST_LENGTH_MAX, Table, lax


class PublisherTable(Table):
    """A publisher: its part of the price of each ad, and the requests that it wants answered."""

    item_type: ClassVar = domain.Publisher

    id: Identifier
    name: Word | None = None
    revenue_share: fields.Share = Decimal(0)
    requests_per_s: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    invalid_traffic: Annotated[domain.InvalidTraffic, lax] = domain.InvalidTraffic.SERVE

    @field_validator("burst")
    @classmethod
    def burst_has_a_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        """Reject a burst without a rate."""
        if burst is not None and info.data.get("requests_per_s", 1) is None:
            raise ValueError("requires requests_per_s")
        return burst

    def to_domain(self) -> domain.Publisher:
        """Return the publisher, by default with its id as its name."""
        return domain.Publisher(**self.model_dump() | {"name": self.name or self.id})


class AdvertiserTable(Table):
    """A company that pays for campaigns."""

    item_type: ClassVar = domain.Advertiser

    id: Word
    name: Word | None = None
    billing_details: fields.Lines | None = None

    def to_domain(self) -> domain.Advertiser:
        """Return the advertiser, by default with its id as its name."""
        return domain.Advertiser(**self.model_dump() | {"name": self.name or self.id})


class OrderTable(Table):
    """An order of an advertiser, whose budget its campaigns share."""

    item_type: ClassVar = domain.Order

    id: Identifier
    advertiser: Word
    currency: fields.Currency
    starts_at: fields.Moment | None = None
    ends_at: fields.Moment | None = None
    budget: fields.Amount | None = None
    impressions: Annotated[int, Field(ge=0, le=domain.BUDGET_IMPRESSIONS_MAX)] | None = None
    prepaid: bool = False
    purchase_order: Word | None = None

    @field_validator("ends_at")
    @classmethod
    def ends_after_it_starts(cls, ends_at: datetime | None, info: ValidationInfo) -> datetime | None:
        """Reject an empty span of time."""
        return fields.require_later(ends_at, info.data.get("starts_at"))

    def to_domain(self) -> domain.Order:
        """Return the order."""
        return domain.Order(**self.model_dump())


class UpstreamTable(Table):
    """An external ad server and its limits."""

    item_type: ClassVar = domain.Upstream

    id: Identifier
    tag_url: Url
    timeout_ms: Annotated[int, Field(ge=1, le=30_000)] = 300
    max_body_bytes: Annotated[int, Field(ge=1, le=16_777_216)] = 262_144
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 3
    cache_ttl_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    stale_while_revalidate_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    stale_if_error_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    max_qps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    breaker_failures: Annotated[int, Field(ge=1, le=10_000)] = 5
    breaker_reset_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    hedge: bool = False

    def to_domain(self) -> domain.Upstream:
        """Return the upstream."""
        return domain.Upstream(**self.model_dump())


class WebhookTable(Table):
    """A URL of another system that receives events."""

    item_type: ClassVar = domain.Webhook

    id: Identifier
    url: Url
    secret: fields.SigningSecret | None = None
    events: Annotated[list[Annotated[domain.OutboxEvent, lax]], Field(max_length=LIST_LENGTH_MAX), NoDuplicates] = []
    status: Annotated[domain.WebhookStatus, lax] = domain.WebhookStatus.ACTIVE

    def to_domain(self) -> domain.Webhook:
        """Return the webhook."""
        return domain.Webhook(**self.model_dump() | {"events": tuple(self.events)})


ItemTable = (
    PublisherTable
    | AdvertiserTable
    | OrderTable
    | UpstreamTable
    | CampaignTable
    | CreativeTable
    | PlacementTable
    | WebhookTable
)
"""An entry of one of the file's lists."""

TABLES: Mapping[str, type[ItemTable]] = {
    "publishers": PublisherTable,
    "advertisers": AdvertiserTable,
    "orders": OrderTable,
    "upstreams": UpstreamTable,
    "campaigns": CampaignTable,
    "creatives": CreativeTable,
    "placements": PlacementTable,
    "webhooks": WebhookTable,
}
"""The lists of a file, ordered so that entries refer only to entries of earlier lists."""
