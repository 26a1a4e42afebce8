"""The field's words as frozen dataclasses and enums. No I/O, and no imports from the rest of the app."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

URL_BYTES_MAX = 16_384
"""In UTF-8, of a URL that was set up or came in somebody's document."""

ID_LENGTH_MAX = 128
"""In characters, of every id that is set up or asked for."""

POD_SIZE_MAX = 20
"""Ads in one answer."""

DURATION_MAX_S = 21_600
"""Of a creative, of a pod, and of what a request asks for."""

AMOUNT_MAX = Decimal(10) ** 12
"""Of money, exclusive: what a column of numeric(18,6) has room for."""

BUDGET_IMPRESSIONS_MAX = 1_000_000_000_000


class CampaignStatus(StrEnum):
    """active → paused → active; active or paused → ended. Only an active campaign serves."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class Billing(StrEnum):
    """When an ad is paid for: as it is served, or as its impression beacon arrives."""

    SERVE = "serve"
    IMPRESSION = "impression"


class Pacing(StrEnum):
    """asap spends as requests come; even lets spend grow linearly over the flight and the day."""

    ASAP = "asap"
    EVEN = "even"


class WithoutUser(StrEnum):
    """What a campaign with caps does when there is nobody to count."""

    SKIP = "skip"
    SERVE = "serve"


class LateImpressions(StrEnum):
    """What happens to an impression beacon whose hold was already released."""

    IGNORE = "ignore"
    CHARGE = "charge"


class BudgetPeriod(StrEnum):
    HOUR = "hour"
    DAY = "day"
    LIFETIME = "lifetime"


class CapWindow(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"
    SESSION = "session"


class NoFillReason(StrEnum):
    """Why a request got no ad: the value of `X-No-Fill-Reason`."""

    FREQUENCY_CAP = "frequency_cap"
    BUDGET = "budget"
    PACING = "pacing"
    FLIGHT = "flight"
    PAUSED = "paused"
    TARGETING = "targeting"
    CONSENT = "consent"
    NO_USER = "no_user"
    UPSTREAM = "upstream"
    RATE_LIMIT = "rate_limit"
    BUSY = "busy"
    NO_CANDIDATE = "no_candidate"


class VastVersion(StrEnum):
    V2_0 = "2.0"
    V3_0 = "3.0"
    V4_0 = "4.0"
    V4_1 = "4.1"
    V4_2 = "4.2"


class Event(StrEnum):
    """What a beacon reports: VAST 4.2 section 3.14 spelling, plus impression, error and click."""

    IMPRESSION = "impression"
    ERROR = "error"
    CLICK = "click"
    START = "start"
    FIRST_QUARTILE = "firstQuartile"
    MIDPOINT = "midpoint"
    THIRD_QUARTILE = "thirdQuartile"
    COMPLETE = "complete"
    MUTE = "mute"
    UNMUTE = "unmute"
    PAUSE = "pause"
    RESUME = "resume"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent, and how many ads may be served, in one period; None for no limit of that kind."""

    amount: Decimal | None = None
    impressions: int | None = None


@dataclass(frozen=True, slots=True)
class FrequencyCap:
    """At most `impressions` ads of the campaign for one user in each `per` window."""

    impressions: int
    per: CapWindow


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One rendition of a creative: VAST 4.2 section 3.9.1."""

    url: str
    type: str
    width: int
    height: int
    bitrate_kbps: int | None = None
    delivery: str = "progressive"
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Creative:
    """A campaign's own linear video ad."""

    id: str
    campaign_id: str
    title: str
    duration_s: int
    media_files: tuple[MediaFile, ...]
    click_through: str | None = None
    skip_offset_s: int | None = None
    universal_ad_id: str | None = None
    universal_ad_id_registry: str = "unknown"
    mezzanine_url: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """Somebody else's ad server: where its VAST is asked for, and within what limits."""

    id: str
    tag_url: str
    timeout_ms: int = 300
    max_body_bytes: int = 262_144
    max_redirects: int = 3
    cache_ttl_s: int = 0
    stale_while_revalidate_s: int = 0
    stale_if_error_s: int = 0
    max_qps: int | None = None
    max_in_flight: int = 64
    breaker_failures: int = 5
    breaker_reset_s: int = 60
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Targeting:
    """Who a campaign may be shown to; an empty tuple means everybody."""

    countries: tuple[str, ...] = ()
    device_types: tuple[str, ...] = ()
    content_genres: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Campaign:
    """What an advertiser bought. `cpm` is money for a thousand ads, in `currency`."""

    id: str
    advertiser: str
    status: CampaignStatus
    currency: str
    timezone: str
    starts_at: datetime
    ends_at: datetime
    cpm: Decimal
    billing: Billing = Billing.SERVE
    pacing: Pacing = Pacing.ASAP
    budgets: Mapping[BudgetPeriod, Budget] = field(default_factory=dict)
    frequency_caps: tuple[FrequencyCap, ...] = ()
    upstreams: tuple[str, ...] = ()
    without_user: WithoutUser = WithoutUser.SKIP
    late_impressions: LateImpressions = LateImpressions.IGNORE
    hold_ttl_s: int = 3600
    direct: bool | None = None
    """Whether a request may name it by `campaign_id`; None only in a draft that leaves it as it is."""
    targeting: Targeting = field(default_factory=Targeting)


@dataclass(frozen=True, slots=True)
class AdBreak:
    """One break of a placement for VMAP; `time_offset` as in VMAP 1.0.1 section 2.3.1."""

    id: str
    time_offset: str
    pod_size: int = 1
    pod_duration_s: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A place of a publisher's where ads are shown; `campaigns` in priority order."""

    id: str
    publisher_id: str
    campaigns: tuple[str, ...]
    ad_breaks: tuple[AdBreak, ...] = ()


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who owns placements; the inbound limit is players' requests a second, None for no limit."""

    id: str
    requests_per_s: int | None = None
    burst: int | None = None


CatalogItem = Publisher | Upstream | Campaign | Creative | Placement
"""Everything that ad operations set up; an item is identified by its type and its id."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that ad operations set up, as of one `revision` of the database."""

    revision: int
    created_at: datetime | None
    """When the revision came about, which tells it from one with the same number; None if nobody wrote it down."""
    campaigns: Mapping[str, Campaign]
    creatives: Mapping[str, tuple[Creative, ...]]
    """Creatives by campaign id, in id order."""
    upstreams: Mapping[str, Upstream]
    placements: Mapping[str, Placement]
    publishers: Mapping[str, Publisher]


class AdRequest(NamedTuple):
    """What a player asked for, after validation; exactly one of `campaign_id` and `placement_id` is set.

    A named tuple, because one is made for every request, and a frozen dataclass takes more than twice as long.
    """

    campaign_id: str | None = None
    placement_id: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    publisher_id: str | None = None
    session_id: UUID | None = None
    request_id: str | None = None
    vast_version: VastVersion = VastVersion.V4_2
    pod_size: int = 1
    pod_duration_s: int | None = None
    min_duration_s: int | None = None
    max_duration_s: int | None = None
    values: Mapping[str, str] = MappingProxyType({})
    """Every known parameter as it was sent, for macros and for telling a retry from another request."""
    identifiable: bool = True
    """Whether the privacy signals allow that the user is told from others."""
    stitched: bool = False
    """Whether a server asks, ahead of when its viewers will see the ad."""
