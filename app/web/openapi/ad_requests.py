"""The parameters of an ad request, as `GET /vast`, `GET /vmap` and `POST /v1/ads` take them."""

from collections.abc import Mapping

from app.domain import DURATION_MAX_S, ID_LENGTH_MAX, POD_SIZE_MAX, Competitors, NoFillReason, VastVersion
from app.web.openapi.schemas import STRING, Json, parameter
from app.web.parameters import KV_NAME_PATTERN, REQUIRED_IDS

_REQUIRED_ID: Json = {"type": "string", "maxLength": ID_LENGTH_MAX}
_SECONDS = f"in seconds, at most {DURATION_MAX_S}"

DESCRIPTIONS: Mapping[str, str] = {
    "campaign_id": "Campaign to serve, which must be direct; required unless placement_id is given",
    "placement_id": "Placement whose campaigns are tried in order",
    "user_id": "Viewer for whom frequency caps count. The server stores only a keyed hash of it",
    "device_id": "Device of the viewer; counts if there is no user_id",
    "publisher_id": "Publisher, for the tag URLs of upstreams",
    "session_id": "Viewing session from POST /v1/sessions, a UUID",
    "request_id": "Id of the request; repeated within 24 hours it gets the same ad, and nothing is charged twice",
    "ip": "Viewer's IP address, if a server sends the request for its client",
    "ua": "Viewer's user agent, if a server sends the request for its client",
    "page_url": "URL of the page with the player",
    "app_bundle": "Bundle id of the app with the player",
    "ifa": "Advertising id",
    "lmt": "1 if the viewer limits ad tracking",
    "gdpr": "1 if the GDPR applies",
    "gdpr_consent": "TCF v2 consent string",
    "gpp": "Global Privacy Platform string",
    "gpp_sid": "Sections of the Global Privacy Platform string that apply",
    "us_privacy": "US Privacy string",
    "gpc": "1 if the viewer's browser sends Global Privacy Control, as does the header Sec-GPC: 1",
    "coppa": "1 if COPPA applies",
    "country": "Country code of two or three letters (ISO 3166-1)",
    "region": "Region of the viewer (ISO 3166-2), with or without its country",
    "city": "City of the viewer, for targeting",
    "language": "Languages of the viewer, as in Accept-Language",
    "device_type": "Kind of device, for targeting",
    "content_genre": "Genre of the content, for targeting",
    "keywords": "Keywords of the content, separated by commas, for targeting",
    "min_duration_s": f"Minimum duration of an ad, {_SECONDS}",
    "max_duration_s": f"Maximum duration of an ad, {_SECONDS}",
    "vast_version": f"VAST version of own creatives: {', '.join(VastVersion)}; 4.2 by default",
    "pod_size": f"Maximum number of ads, at most {POD_SIZE_MAX}; 1 by default",
    "pod_duration_s": f"Maximum total duration of the ads, {_SECONDS}",
    "min_ads": "Minimum number of ads in a pod; with fewer, nothing is served and charged",
    "competitors": "Whether ads of one advertiser or category share a pod, or follow each other in a viewing session: "
    f"{', '.join(Competitors)}; apart by default",
    "unwrap": "1 to resolve wrappers on the server and get the InLine",
}


def schema_of(name: str) -> Json:
    """Return the schema of a parameter; any string is valid for an optional one, because invalid values are ignored."""
    return _REQUIRED_ID if name in REQUIRED_IDS else STRING


QUERY = [parameter(name, description, schema_of(name)) for name, description in DESCRIPTIONS.items()]

IN_JSON: Json = {
    "type": "object",
    "description": "An ad request with the parameters of GET /vast",
    "properties": {name: schema_of(name) | {"description": text} for name, text in DESCRIPTIONS.items()},
    "patternProperties": {KV_NAME_PATTERN: STRING | {"description": "Custom parameter, for targeting"}},
    "additionalProperties": False,
}

NO_FILL = f"Reason why the document has no ad: {', '.join(NoFillReason)}"
