"""The parameters of an ad request, as `GET /vast`, `GET /vmap` and `POST /v1/ads` take them."""

from collections.abc import Mapping

from app.domain import NoFillReason, VastVersion
from app.web.description.schemas import UUID, WHOLE, Json, parameter
from app.web.query import DURATION_MAX_S, PARAMETERS, POD_SIZE_MAX

FLAGGED: Json = {"type": "string", "enum": ["0", "1"]}
"""A flag as a query string has it."""
_SECONDS: Json = WHOLE | {"minimum": 1, "maximum": DURATION_MAX_S}

DESCRIPTIONS: Mapping[str, str] = {
    "campaign_id": "Campaign to serve, which must be direct; either this or placement_id",
    "placement_id": "Placement whose campaigns are tried in order",
    "user_id": "Who watches; frequency caps count by it. Only a keyed hash of it is stored",
    "device_id": "What is watched on; counts where there is no user_id",
    "publisher_id": "Publisher, for tag URLs of upstreams",
    "session_id": "Viewing session, from POST /v1/sessions",
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
    "coppa": "1 if COPPA applies",
    "country": "Country code of two or three letters",
    "device_type": "Kind of device, for targeting",
    "content_genre": "Genre of the content, for targeting",
    "min_duration_s": "Shortest ad wanted, in seconds",
    "max_duration_s": "Longest ad wanted, in seconds",
    "vast_version": "VAST version of own creatives; 4.2 if not given",
    "pod_size": "Most ads in the answer; 1 if not given",
    "pod_duration_s": "Longest the ads may last together, in seconds",
    "unwrap": "1 to follow wrappers on the server and get the InLine",
}

_SCHEMAS: Mapping[str, Json] = {
    "session_id": UUID,
    "request_id": {"type": "string", "pattern": "^[A-Za-z0-9._~:-]{1,128}$"},
    "country": {"type": "string", "pattern": "^[A-Za-z]{2,3}$"},
    "vast_version": {"type": "string", "enum": list(VastVersion)},
    "pod_size": WHOLE | {"minimum": 1, "maximum": POD_SIZE_MAX},
    **dict.fromkeys(("lmt", "gdpr", "coppa", "unwrap"), FLAGGED),
    **dict.fromkeys(("min_duration_s", "max_duration_s", "pod_duration_s"), _SECONDS),
}


def schema_of(name: str) -> Json:
    """What a parameter's value may be."""
    return _SCHEMAS.get(name) or {"type": "string", "maxLength": PARAMETERS[name][0]}


QUERY = [parameter(name, description, schema_of(name)) for name, description in DESCRIPTIONS.items()]

IN_JSON: Json = {
    "type": "object",
    "description": "An ad request; the parameters are those of GET /vast",
    "properties": {name: schema_of(name) | {"description": text} for name, text in DESCRIPTIONS.items()},
    "additionalProperties": False,
}

NO_FILL = f"Why the document has no ad: {', '.join(NoFillReason)}"
