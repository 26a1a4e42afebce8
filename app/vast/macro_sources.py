"""The source of each macro's value. docs/macros.md is generated from this table, and a test compares the two."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from app.vast.ad_system import AD_SYSTEM
from app.version import VERSION


@dataclass(frozen=True, slots=True)
class MacroContext:
    """The data of a request. `values` contains its parameters by name, as they were sent: `user_id`, `page_url`, ..."""

    values: Mapping[str, str]
    timestamp: datetime
    cachebusting: str
    correlator: str
    request_id: str
    withhold_identity: bool = False


@dataclass(frozen=True, slots=True)
class MacroSource:
    """The source of a macro's value; `description` is for readers of the documentation."""

    description: str
    read: Callable[[MacroContext], str | None]
    identifies: bool = False
    """Whether the value identifies the viewer, so that it is withheld where identification is not allowed."""
    varies_per_request: bool = False
    """Whether the value differs with every request, so that it is not part of the cache key."""
    is_list: bool = False
    """Whether the value is a list, whose commas are not percent-encoded."""


FIELDS = (
    *("user_id", "device_id", "publisher_id", "session_id", "campaign_id", "placement_id"),
    *("ip", "ua", "page_url", "app_bundle", "ifa", "lmt", "gdpr", "gdpr_consent", "gpp", "gpp_sid", "us_privacy"),
    *("gpc", "coppa", "country", "device_type", "content_genre", "min_duration_s", "max_duration_s", "pod_size"),
    *("pod_duration_s", "vast_version"),
)
IDENTIFYING = frozenset({"user_id", "device_id", "session_id", "ip", "ifa"})


def _field(name: str, *, is_list: bool = False) -> MacroSource:
    return MacroSource(
        f"`{name}`", lambda context: context.values.get(name), identifies=name in IDENTIFYING, is_list=is_list
    )


def _fixed(value: str, description: str) -> MacroSource:
    return MacroSource(description, lambda context: value)


def _timestamp(context: MacroContext) -> str:
    return context.timestamp.isoformat(timespec="milliseconds")


def _transaction_id(context: MacroContext) -> str | None:
    try:
        return str(UUID(context.request_id))
    except ValueError:
        return None


def _domain(context: MacroContext) -> str | None:
    try:
        return urlsplit(context.values.get("page_url", "")).hostname
    except ValueError:
        return None


def _regulations(context: MacroContext) -> str:
    return ",".join(name for name in ("coppa", "gdpr") if context.values.get(name) == "1")


_ADCOM_SUBTYPES = {"2.0": "2,5", "3.0": "3,6", "4.0": "7,8", "4.1": "11,12", "4.2": "13,14"}
"""The codes for InLine and Wrapper of each version in AdCOM 1.0's list of creative subtypes."""


def _vast_versions(context: MacroContext) -> str | None:
    return _ADCOM_SUBTYPES.get(context.values.get("vast_version", ""))


_UNAVAILABLE = MacroSource("not available to an ad server", lambda context: None)
_TRACKING_ONLY = MacroSource("only in tracking URLs", lambda context: None)
_REQUEST_ID = MacroSource("the request's id", lambda context: context.request_id, varies_per_request=True)

BRACED = {name: _field(name) for name in FIELDS} | {
    "request_id": _REQUEST_ID,
    "tmax": MacroSource("milliseconds left to answer", lambda context: None, varies_per_request=True),
}

BRACKETED = {
    "CORRELATOR": MacroSource(
        "a random number, the same for all ads of a session",
        lambda context: context.correlator,
        varies_per_request=True,
    ),
    "REQUESTID": _REQUEST_ID,
    "TIMESTAMP": MacroSource("now, ISO 8601 with milliseconds and zone", _timestamp, varies_per_request=True),
    "CACHEBUSTING": MacroSource("8 random digits", lambda context: context.cachebusting, varies_per_request=True),
    "CONTENTPLAYHEAD": _UNAVAILABLE,
    "MEDIAPLAYHEAD": _UNAVAILABLE,
    "BREAKPOSITION": _UNAVAILABLE,
    "BLOCKEDADCATEGORIES": _UNAVAILABLE,
    "ADCATEGORIES": _UNAVAILABLE,
    "ADCOUNT": _field("pod_size"),
    "TRANSACTIONID": MacroSource("the request's id, if it is a UUID", _transaction_id, varies_per_request=True),
    "PLACEMENTTYPE": _UNAVAILABLE,
    "ADTYPE": _fixed("video", "`video`"),
    "UNIVERSALADID": _TRACKING_ONLY,
    "BREAKMAXDURATION": _field("pod_duration_s"),
    "BREAKMAXADS": _field("pod_size"),
    "BREAKMINADLENGTH": _field("min_duration_s"),
    "BREAKMAXADLENGTH": _field("max_duration_s"),
    "IFA": _field("ifa"),
    "IFATYPE": _UNAVAILABLE,
    "CLIENTUA": _UNAVAILABLE,
    "SERVERUA": _fixed(f"{AD_SYSTEM}/{VERSION}", "this server's name and version"),
    "DEVICEUA": _field("ua"),
    "SERVERSIDE": _fixed("1", "`1`: a server, for its client"),
    "DEVICEIP": _field("ip"),
    "LATLONG": _UNAVAILABLE,
    "DOMAIN": MacroSource("the host in `page_url`", _domain),
    "PAGEURL": _field("page_url"),
    "APPBUNDLE": _field("app_bundle"),
    "VASTVERSIONS": MacroSource("`vast_version`, as AdCOM creative subtypes", _vast_versions, is_list=True),
    "APIFRAMEWORKS": _UNAVAILABLE,
    "EXTENSIONS": _UNAVAILABLE,
    "VERIFICATIONVENDORS": _UNAVAILABLE,
    "OMIDPARTNER": _UNAVAILABLE,
    "MEDIAMIME": _UNAVAILABLE,
    "PLAYERCAPABILITIES": _UNAVAILABLE,
    "CLICKTYPE": _UNAVAILABLE,
    "PLAYERSTATE": _TRACKING_ONLY,
    "INVENTORYSTATE": _UNAVAILABLE,
    "PLAYERSIZE": _UNAVAILABLE,
    "ADPLAYHEAD": _TRACKING_ONLY,
    "ASSETURI": _TRACKING_ONLY,
    "CONTENTID": _UNAVAILABLE,
    "CONTENTURI": _UNAVAILABLE,
    "PODSEQUENCE": _TRACKING_ONLY,
    "ADSERVINGID": _TRACKING_ONLY,
    "CLICKPOS": _TRACKING_ONLY,
    "ERRORCODE": MacroSource("only in error URLs: the code", lambda context: None, varies_per_request=True),
    "REASON": _TRACKING_ONLY,
    "LIMITADTRACKING": _field("lmt"),
    "REGULATIONS": MacroSource("`coppa` and `gdpr`, those that are 1", _regulations, is_list=True),
    "GDPRCONSENT": _field("gdpr_consent"),
    "STOREID": _UNAVAILABLE,
    "STOREURL": _UNAVAILABLE,
    "PLAYBACKMETHODS": _UNAVAILABLE,
    "CONTENTCAT": _UNAVAILABLE,
    "GPPSTRING": _field("gpp"),
    "GPPSECTIONID": _field("gpp_sid", is_list=True),
    "DSAREQUIRED": _UNAVAILABLE,
    "DSAPARAMS": _UNAVAILABLE,
    "DSAPUBRENDER": _UNAVAILABLE,
}
"""The macro list of VAST 4.x in its order, after two macros of this server."""
