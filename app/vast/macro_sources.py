"""Where the value of each macro comes from. docs/macros.md is this table for readers, and a test holds it to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from app.vast.own_ads import AD_SYSTEM
from app.version import VERSION


@dataclass(frozen=True, slots=True)
class MacroContext:
    """What a request knows. `values` has its parameters by name, as they were sent: `user_id`, `page_url`, ..."""

    values: Mapping[str, str]
    timestamp: datetime
    cachebusting: str
    correlator: str
    request_id: str
    withhold_identity: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """How a macro is filled; `said` is that in words."""

    said: str
    read: Callable[[MacroContext], str | None]
    identifies: bool = False
    """Whether it tells who watches, so that it is withheld where the user may not be identified."""
    always_new: bool = False
    """Whether it changes with every request, so that it does not tell one upstream answer from another."""
    is_list: bool = False
    """Whether its values are separated by commas, each encoded for itself."""


FIELDS = (
    *("user_id", "device_id", "publisher_id", "session_id", "campaign_id", "placement_id"),
    *("ip", "ua", "page_url", "app_bundle", "ifa", "lmt", "gdpr", "gdpr_consent", "gpp", "gpp_sid", "us_privacy"),
    *("gpc", "coppa", "country", "device_type", "content_genre", "min_duration_s", "max_duration_s", "pod_size"),
    *("pod_duration_s", "vast_version"),
)
IDENTIFYING = frozenset({"user_id", "device_id", "session_id", "ip", "ifa"})


def _field(name: str, *, is_list: bool = False) -> Source:
    return Source(
        f"`{name}`", lambda context: context.values.get(name), identifies=name in IDENTIFYING, is_list=is_list
    )


def _fixed(value: str, said: str) -> Source:
    return Source(said, lambda context: value)


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
"""InLine and Wrapper of a version in AdCOM 1.0's list of creative subtypes."""


def _vast_versions(context: MacroContext) -> str | None:
    return _ADCOM_SUBTYPES.get(context.values.get("vast_version", ""))


_NOT_ASKED = Source("not known to an ad server", lambda context: None)
_TRACKING_ONLY = Source("only in tracking URLs", lambda context: None)
_REQUEST_ID = Source("the request's id", lambda context: context.request_id, always_new=True)

BRACED = {name: _field(name) for name in FIELDS} | {
    "request_id": _REQUEST_ID,
    "tmax": Source("milliseconds left to answer", lambda context: None, always_new=True),
}

BRACKETED = {
    "CORRELATOR": Source(
        "a random number, the same for all ads of a session", lambda context: context.correlator, always_new=True
    ),
    "REQUESTID": _REQUEST_ID,
    "TIMESTAMP": Source("now, ISO 8601 with milliseconds and zone", _timestamp, always_new=True),
    "CACHEBUSTING": Source("8 random digits", lambda context: context.cachebusting, always_new=True),
    "CONTENTPLAYHEAD": _NOT_ASKED,
    "MEDIAPLAYHEAD": _NOT_ASKED,
    "BREAKPOSITION": _NOT_ASKED,
    "BLOCKEDADCATEGORIES": _NOT_ASKED,
    "ADCATEGORIES": _NOT_ASKED,
    "ADCOUNT": _field("pod_size"),
    "TRANSACTIONID": Source("the request's id, if it is a UUID", _transaction_id, always_new=True),
    "PLACEMENTTYPE": _NOT_ASKED,
    "ADTYPE": _fixed("video", "`video`"),
    "UNIVERSALADID": _TRACKING_ONLY,
    "BREAKMAXDURATION": _field("pod_duration_s"),
    "BREAKMAXADS": _field("pod_size"),
    "BREAKMINADLENGTH": _field("min_duration_s"),
    "BREAKMAXADLENGTH": _field("max_duration_s"),
    "IFA": _field("ifa"),
    "IFATYPE": _NOT_ASKED,
    "CLIENTUA": _NOT_ASKED,
    "SERVERUA": _fixed(f"{AD_SYSTEM}/{VERSION}", "this server's name and version"),
    "DEVICEUA": _field("ua"),
    "SERVERSIDE": _fixed("1", "`1`: a server, for its client"),
    "DEVICEIP": _field("ip"),
    "LATLONG": _NOT_ASKED,
    "DOMAIN": Source("the host in `page_url`", _domain),
    "PAGEURL": _field("page_url"),
    "APPBUNDLE": _field("app_bundle"),
    "VASTVERSIONS": Source("`vast_version`, as AdCOM creative subtypes", _vast_versions, is_list=True),
    "APIFRAMEWORKS": _NOT_ASKED,
    "EXTENSIONS": _NOT_ASKED,
    "VERIFICATIONVENDORS": _NOT_ASKED,
    "OMIDPARTNER": _NOT_ASKED,
    "MEDIAMIME": _NOT_ASKED,
    "PLAYERCAPABILITIES": _NOT_ASKED,
    "CLICKTYPE": _NOT_ASKED,
    "PLAYERSTATE": _TRACKING_ONLY,
    "INVENTORYSTATE": _NOT_ASKED,
    "PLAYERSIZE": _NOT_ASKED,
    "ADPLAYHEAD": _TRACKING_ONLY,
    "ASSETURI": _TRACKING_ONLY,
    "CONTENTID": _NOT_ASKED,
    "CONTENTURI": _NOT_ASKED,
    "PODSEQUENCE": _TRACKING_ONLY,
    "ADSERVINGID": _TRACKING_ONLY,
    "CLICKPOS": _TRACKING_ONLY,
    "ERRORCODE": Source("only in error URLs: the code", lambda context: None, always_new=True),
    "REASON": _TRACKING_ONLY,
    "LIMITADTRACKING": _field("lmt"),
    "REGULATIONS": Source("`coppa` and `gdpr`, those that are 1", _regulations, is_list=True),
    "GDPRCONSENT": _field("gdpr_consent"),
    "STOREID": _NOT_ASKED,
    "STOREURL": _NOT_ASKED,
    "PLAYBACKMETHODS": _NOT_ASKED,
    "CONTENTCAT": _NOT_ASKED,
    "GPPSTRING": _field("gpp"),
    "GPPSECTIONID": _field("gpp_sid", is_list=True),
    "DSAREQUIRED": _NOT_ASKED,
    "DSAPARAMS": _NOT_ASKED,
    "DSAPUBRENDER": _NOT_ASKED,
}
"""The macro list of VAST 4.x, in its order, after two macros of our own."""
