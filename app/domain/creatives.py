"""Creatives: the video and audio ads of campaigns."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.terms import CreativeStatus, PodPosition
from app.domain.vast_elements import NO_ELEMENTS, VastElements

BUMPER_ORDER, FIRST_ORDER, ANY_ORDER, LAST_ORDER = range(4)
"""The order of ads in a pod."""

_ORDERS = {PodPosition.FIRST: FIRST_ORDER, PodPosition.ANY: ANY_ORDER, PodPosition.LAST: LAST_ORDER}


def is_audio(media_type: str) -> bool:
    """Return whether files of this type have sound alone."""
    return media_type.lower().startswith("audio/")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A rendition of a creative (VAST 4.2 section 3.9.1)."""

    url: str
    type: str
    width: int | None = None
    height: int | None = None
    """Its size in pixels; None for audio."""
    bitrate_kbps: int | None = None
    delivery: str = "progressive"
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Creative:
    """A linear video or audio ad of a campaign."""

    id: str
    campaign_id: str
    title: str
    duration_s: Decimal
    """Exact to milliseconds."""
    media_files: tuple[MediaFile, ...] = ()
    """Empty for a creative with a `vast_tag_url`."""
    vast_tag_url: str | None = None
    """The tag of another server that has the ad, which the player follows."""
    follow_additional_wrappers: bool | None = None
    fallback_on_no_ad: bool | None = None
    """Attributes of its Wrapper (VAST 4.2 section 3.19); None for their defaults."""
    click_through: str | None = None
    skip_offset_s: int | None = None
    universal_ad_id: str | None = None
    universal_ad_id_registry: str = "unknown"
    mezzanine_url: str | None = None
    description: str | None = None
    elements: VastElements = NO_ELEMENTS
    status: CreativeStatus = CreativeStatus.ACTIVE
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    weight: int = 1
    """Its share of the ads of its campaign, in comparison with the weights of the other creatives."""
    sequence: int | None = None
    """Its position in a viewing session, before all creatives with a higher one or none."""
    position: PodPosition = PodPosition.ANY
    bumper: bool = False
    """Whether it opens a pod, in front of at least one other ad."""

    @property
    def pod_order(self) -> int:
        """Its place in the order of the ads in a pod."""
        return BUMPER_ORDER if self.bumper else _ORDERS[self.position]

    @property
    def has_own_position(self) -> bool:
        """Whether a pod may have only one such creative: a bumper, a first one or a last one."""
        return self.pod_order != ANY_ORDER

    def is_running(self, now: datetime) -> bool:
        """Return whether it may be served at this moment."""
        return (
            self.status is CreativeStatus.ACTIVE
            and (self.starts_at is None or self.starts_at <= now)
            and (self.ends_at is None or now < self.ends_at)
        )
