"""What players, stitchers and their pages ask for."""

from app.domain import Event
from app.web.openapi.ad_requests import NO_FILL, QUERY
from app.web.openapi.schemas import (
    BOOLEAN,
    DATE_TIME,
    INTEGER,
    STRING,
    UUID,
    Json,
    array_of,
    json_response,
    nullable,
    object_of,
    parameter,
    problem_responses,
    ref,
    response,
)
from app.web.sessions import TTL_DEFAULT_S, TTL_MAX_S
from app.web.vmap import BREAK_PARAMETERS

TOO_OFTEN = "Above the limit of its address; Retry-After says when to come again"
_TOKEN = parameter("t", "Signed token from a document of this server")
_SESSION_ID = parameter("id", "Session id", UUID, place="path", required=True)

SESSION: Json = object_of(
    id=UUID,
    correlator=STRING,
    publisher_id=nullable(STRING),
    created_at=DATE_TIME,
    expires_at=DATE_TIME,
    played=array_of(STRING),
)

NEW_SESSION: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(("user_id", "device_id", "publisher_id"), nullable(STRING)),
        "ttl_s": INTEGER | {"minimum": 1, "maximum": TTL_MAX_S, "default": TTL_DEFAULT_S},
    },
}

DECIDED: Json = {
    "type": "object",
    "description": "A line of the response, in the order in which requests are decided",
    "required": ["request_id", "index", "status"],
    "properties": {
        "request_id": STRING,
        "index": INTEGER | {"description": "Position in what was asked, from 0"},
        "status": INTEGER,
        "filled": BOOLEAN,
        "no_fill_reason": nullable(STRING),
        "vast": STRING,
        "field": STRING,
        "reason": STRING,
    },
}

PATHS: Json = {
    "/vast": {
        "get": {
            "summary": "An ad, or the empty document that says there is none",
            "tags": ["players"],
            "parameters": QUERY,
            "responses": {
                "200": response("VAST", "application/xml", X_No_Fill_Reason=NO_FILL, X_Request_Id="The request's id"),
                **problem_responses(
                    _400="Malformed, or of an unknown campaign or placement",
                    _404="The session does not exist",
                    _409="The request_id was used with other parameters",
                    _410="The session has ended",
                ),
            },
        }
    },
    "/vmap": {
        "get": {
            "summary": "The ad breaks of a placement",
            "tags": ["players"],
            "parameters": [
                *(described for described in QUERY if described["name"] not in BREAK_PARAMETERS),
                parameter("embed", "1 to have the breaks' ads in the document, served now"),
            ],
            "responses": {
                "200": response(
                    "VMAP 1.0.1; a break whose request fails has an empty document in it", "application/xml"
                ),
                **problem_responses(_400="Malformed, of an unknown placement, or impossible for one of its breaks"),
            },
        }
    },
    "/v1/ads": {
        "post": {
            "summary": "Many ad requests in one call, answered as they are decided; trusted networks need no token",
            "tags": ["players"],
            "security": [{"adminToken": []}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": object_of(requests=array_of(ref("AdRequest")))}},
            },
            "responses": {
                "200": response("A line of JSON for each request", "application/x-ndjson", ref("Decided")),
                **problem_responses(
                    _400="Not such a list, or too long", _401="No token, or a wrong one", _429="Too many wrong tokens"
                ),
            },
        }
    },
    "/event/{event}": {
        "get": {
            "summary": "A beacon; counts once for each ad and event",
            "tags": ["players"],
            "parameters": [
                parameter("event", f"One of {', '.join(Event)}", place="path", required=True),
                _TOKEN,
                parameter("code", "VAST error code, for error"),
            ],
            "responses": {"200": response("A transparent pixel, whether it counted or not", "image/gif")},
        }
    },
    "/click": {
        "get": {
            "summary": "Counts a click and leads to what was advertised",
            "tags": ["players"],
            "parameters": [_TOKEN],
            "responses": {
                "302": response("To the destination that was signed", Location="The destination"),
                **problem_responses(_400="No token, an altered or an expired one"),
            },
        }
    },
    "/v1/sessions": {
        "post": {
            "summary": "Begin a viewing session",
            "tags": ["sessions"],
            "requestBody": {"content": {"application/json": {"schema": ref("NewSession")}}},
            "responses": {
                "201": json_response("The session", ref("Session"), Location="Where it is"),
                **problem_responses(_400="A value that cannot be", _429=TOO_OFTEN),
            },
        }
    },
    "/v1/sessions/{id}": {
        "get": {
            "summary": "A viewing session while it lasts",
            "tags": ["sessions"],
            "parameters": [_SESSION_ID],
            "responses": {
                "200": json_response("The session", ref("Session")),
                **problem_responses(_404="There never was one", _410="It has ended", _429=TOO_OFTEN),
            },
        },
        "delete": {
            "summary": "End a viewing session",
            "tags": ["sessions"],
            "parameters": [_SESSION_ID],
            "responses": {
                "204": response("It has ended now"),
                **problem_responses(_404="There never was one", _410="It had ended before", _429=TOO_OFTEN),
            },
        },
    },
}
