"""The parameters of an ad request, as `GET /vast`, `GET /vmap` and `POST /v1/ads` take them."""

from collections.abc import Mapping

from app.domain import DURATION_MAX_S, ID_LENGTH_MAX, POD_SIZE_MAX, NoFillReason, VastVersion
from app.web.openapi.schemas import STRING, Json, parameter
from app.web.parameters import REQUIRED_IDS

_NEEDED_ID: Json = {"type": "string", "maxLength": ID_LENGTH_MAX}
_SECONDS = f"in seconds, at most {DURATION_MAX_S}"

DESCRIPTIONS: Mapping[str, str] = {
    "campaign_id": "Campaign to serve, which must be direct; either this or placement_id",
    "placement_id": "Placement whose campaigns are tried in order",
    "user_id": "Who watches; frequency caps count by it. Only a keyed hash of it is stored",
    "device_id": "What is watched on; counts where there is no user_id",
    "publisher_id": "Publisher, for tag URLs of upstreams",
    "session_id": "Viewing session, from POST /v1/sessions: a UUID",
    "request_id": "Names the request: asked again within 24 hours it gets the same ad, and nothing is paid twice",
    "ip": "Viewer's address, from a server that asks for its client",
    "ua": "Viewer's user agent, likewise",
    "page_url": "Page that the player is on",
    "app_bundle": "App that the player is in",
    "ifa": "Advertising id",
    "lmt": "1 if the viewer limits ad tracking",
    "gdpr": "1 if the GDPR applies",
    "gdpr_consent": "TCF v2 consent string",
    "gpp": "Global Privacy Platform string",
    "gpp_sid": "Sections of it that apply",
    "us_privacy": "US Privacy string",
    "gpc": "1 if the viewer's browser sends Global Privacy Control, as the header Sec-GPC says it too",
    "coppa": "1 if COPPA applies",
    "country": "Country code of two or three letters (ISO 3166-1)",
    "device_type": "Kind of device, for targeting",
    "content_genre": "Genre of the content, for targeting",
    "min_duration_s": f"Shortest ad wanted, {_SECONDS}",
    "max_duration_s": f"Longest ad wanted, {_SECONDS}",
    "vast_version": f"VAST version of own creatives: {', '.join(VastVersion)}; 4.2 if not given",
    "pod_size": f"Most ads in the response, at most {POD_SIZE_MAX}; 1 if not given",
    "pod_duration_s": f"Longest the ads may last together, {_SECONDS}",
    "unwrap": "1 to follow wrappers on the server and get the InLine",
}


def schema_of(name: str) -> Json:
    """What a parameter's value may be: anything, where one that cannot be read is ignored."""
    return _NEEDED_ID if name in REQUIRED_IDS else STRING


QUERY = [parameter(name, description, schema_of(name)) for name, description in DESCRIPTIONS.items()]

IN_JSON: Json = {
    "type": "object",
    "description": "An ad request; the parameters are those of GET /vast",
    "properties": {name: schema_of(name) | {"description": text} for name, text in DESCRIPTIONS.items()},
    "additionalProperties": False,
}

NO_FILL = f"Why the document has no ad: {', '.join(NoFillReason)}"
