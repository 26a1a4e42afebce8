"""The terms of the trade: every value that a setting, a reason or an event can have."""

from enum import StrEnum


class CampaignStatus(StrEnum):
    """State of a campaign: active ⇄ paused, and either → ended. Only an active campaign serves."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class CreativeStatus(StrEnum):
    """State of a creative: active ⇄ paused, and either → archived. Only an active creative is served."""

    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class PriceModel(StrEnum):
    """The unit that a price is for: a thousand ads, a click, a completed view, or the whole flight."""

    CPM = "cpm"
    CPC = "cpc"
    CPCV = "cpcv"
    FLAT = "flat"

    @property
    def counted_unit(self) -> str:
        """The units that budgets count: a campaign that is sold by click is limited in clicks, for example."""
        return {PriceModel.CPC: "clicks", PriceModel.CPCV: "completions"}.get(self, "impressions")

    @property
    def billings(self) -> "tuple[Billing, ...]":
        """The events that may charge for an ad at this price, the default first."""
        billings = {
            PriceModel.CPM: (Billing.SERVE, Billing.IMPRESSION),
            PriceModel.CPC: (Billing.CLICK,),
            PriceModel.CPCV: (Billing.COMPLETE,),
            PriceModel.FLAT: (Billing.SERVE,),
        }
        return billings[self]


class PodPosition(StrEnum):
    """Position that a creative has in every pod."""

    FIRST = "first"
    LAST = "last"
    ANY = "any"


class Competitors(StrEnum):
    """Treatment of ads of the same advertiser or category: a pod has one of them, or all."""

    APART = "apart"
    TOGETHER = "together"


class BreakType(StrEnum):
    """Type of the ads in an ad break (VMAP 1.0.1 section 2.3.1)."""

    LINEAR = "linear"
    NONLINEAR = "nonlinear"
    DISPLAY = "display"


class Billing(StrEnum):
    """Event that charges for an ad: the serve, or a beacon of the same name."""

    SERVE = "serve"
    IMPRESSION = "impression"
    CLICK = "click"
    COMPLETE = "complete"


class Pacing(StrEnum):
    """Pace of spend: as soon as possible, evenly over the flight and the day, or ahead of that by a percentage."""

    ASAP = "asap"
    EVEN = "even"
    FRONT = "front"


class WithoutUser(StrEnum):
    """Behavior of a campaign with caps for a request without an identifiable user."""

    SKIP = "skip"
    SERVE = "serve"


class InvalidTraffic(StrEnum):
    """Treatment of a publisher's requests that come from no viewer: served as any other, or refused."""

    SERVE = "serve"
    REFUSE = "refuse"


class LateImpressions(StrEnum):
    """Treatment of a beacon that would have settled a hold and comes after its release."""

    IGNORE = "ignore"
    CHARGE = "charge"


class BudgetPeriod(StrEnum):
    """Period of a budget, in the campaign's timezone."""

    HOUR = "hour"
    DAY = "day"
    LIFETIME = "lifetime"


class CapWindow(StrEnum):
    """Window of a frequency cap, in the campaign's timezone."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"
    SESSION = "session"


class CapLevel(StrEnum):
    """Level at which a frequency cap counts ads: each creative, the campaign, its order, or its advertiser."""

    CREATIVE = "creative"
    CAMPAIGN = "campaign"
    ORDER = "order"
    ADVERTISER = "advertiser"


class NoFillReason(StrEnum):
    """Reason why a request got no ad; the value of the header `X-No-Fill-Reason`."""

    FREQUENCY_CAP = "frequency_cap"
    BUDGET = "budget"
    PACING = "pacing"
    FLIGHT = "flight"
    PAUSED = "paused"
    TARGETING = "targeting"
    CONSENT = "consent"
    NO_USER = "no_user"
    UPSTREAM = "upstream"
    INVALID_TRAFFIC = "invalid_traffic"
    RATE_LIMIT = "rate_limit"
    BUSY = "busy"
    NO_CANDIDATE = "no_candidate"


class WebhookStatus(StrEnum):
    """State of a webhook: active ⇄ paused. Events for a paused webhook are sent once it is active again."""

    ACTIVE = "active"
    PAUSED = "paused"


class OutboxEvent(StrEnum):
    """Type of an event that the outbox has and webhooks receive."""

    BUDGET_80_PERCENT = "budget.reached_80_percent"
    BUDGET_100_PERCENT = "budget.reached_100_percent"
    ORDER_80_PERCENT = "order.reached_80_percent"
    ORDER_100_PERCENT = "order.reached_100_percent"
    CAMPAIGN_OVER = "campaign.over"
    MONTH_CLOSED = "month.closed"
    BOOKS_DISAGREE = "books.disagree"
    BOOKS_AGREE = "books.agree"


class VastVersion(StrEnum):
    """VAST version of a response."""

    V2_0 = "2.0"
    V3_0 = "3.0"
    V4_0 = "4.0"
    V4_1 = "4.1"
    V4_2 = "4.2"


class Event(StrEnum):
    """Event that a beacon reports, spelled as in VAST 4.2 section 3.14, plus impression, error and click."""

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
