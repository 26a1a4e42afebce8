"""The tracking events of linear ads in each version: their names, and which of them its schema lacks."""

from app.domain import TrackingEvent, VastVersion

_FIRST_VERSIONS = {
    TrackingEvent.SKIP: VastVersion.V3_0,
    TrackingEvent.PROGRESS: VastVersion.V3_0,
    TrackingEvent.PLAYER_COLLAPSE: VastVersion.V3_0,
    TrackingEvent.CLOSE_LINEAR: VastVersion.V3_0,
    TrackingEvent.MINIMIZE: VastVersion.V4_0,
    TrackingEvent.OVERLAY_VIEW_DURATION: VastVersion.V4_0,
    TrackingEvent.OTHER_AD_INTERACTION: VastVersion.V4_0,
    TrackingEvent.LOADED: VastVersion.V4_1,
    TrackingEvent.INTERACTIVE_START: VastVersion.V4_2,
}
"""Of the events that VAST 2.0 does not have, the version that introduced them."""

_NAMES_BEFORE_4_0 = {
    TrackingEvent.PLAYER_EXPAND: "fullscreen",
    TrackingEvent.PLAYER_COLLAPSE: "exitFullscreen",
    TrackingEvent.AD_EXPAND: "expand",
    TrackingEvent.AD_COLLAPSE: "collapse",
}


def event_name(event: TrackingEvent, version: VastVersion) -> str | None:
    """Return the event's name in this version; None if its schema has no such event."""
    if version < _FIRST_VERSIONS.get(event, VastVersion.V2_0):
        return None
    if event is TrackingEvent.CLOSE_LINEAR and version is VastVersion.V4_0:
        return None
    if event is TrackingEvent.ACCEPT_INVITATION and version in (VastVersion.V3_0, VastVersion.V4_0):
        return "acceptInvitationLinear"
    return _NAMES_BEFORE_4_0.get(event, event) if version < VastVersion.V4_0 else event
