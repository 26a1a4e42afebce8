"""OpenAPI descriptions of the endpoints for players, stitchers and their pages."""

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

RATE_LIMITED = "Too many requests from this address; see Retry-After"
_TOKEN = parameter("t", "Signed token from a VAST document of this server")
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

BATCH_RESULT: Json = {
    "type": "object",
    "description": "A line of the response; the lines are in the order in which requests are decided",
    "required": ["request_id", "index", "status"],
    "properties": {
        "request_id": STRING,
        "index": INTEGER | {"description": "Index of the request in the list, from 0"},
        "status": INTEGER,
        "filled": BOOLEAN,
        "no_fill_reason": nullable(STRING),
        "vast": STRING,
        "field": STRING,
        "reason": STRING,
    },
}

_BEACON: Json = {
    "tags": ["players"],
    "parameters": [
        parameter("event", f"One of {', '.join(Event)}", place="path", required=True),
        _TOKEN,
        parameter("code", "VAST error code of an error"),
    ],
    "responses": {"200": response("A transparent pixel, even if the event did not count", "image/gif")},
}

PATHS: Json = {
    "/vast": {
        "get": {
            "summary": "Get an ad, or an empty document",
            "tags": ["players"],
            "parameters": QUERY,
            "responses": {
                "200": response("VAST", "application/xml", X_No_Fill_Reason=NO_FILL, X_Request_Id="The request's id"),
                **problem_responses(
                    _400="The request is invalid, or its campaign or placement is unknown",
                    _404="The session does not exist",
                    _409="The request_id was already used with other parameters",
                    _410="The session has ended",
                ),
            },
        }
    },
    "/vmap": {
        "get": {
            "summary": "Get the ad breaks of a placement",
            "tags": ["players"],
            "parameters": [
                *(described for described in QUERY if described["name"] not in BREAK_PARAMETERS),
                parameter("embed", "1 to serve the ads now and embed them in the document"),
            ],
            "responses": {
                "200": response("VMAP 1.0.1; a break whose request fails has an empty document", "application/xml"),
                **problem_responses(_400="The request is invalid for one of the breaks, or its placement is unknown"),
            },
        }
    },
    "/preview": {
        "get": {
            "summary": "Get the document of a creative by a signed link; books and counts nothing",
            "tags": ["players"],
            "parameters": [parameter("t", "Token of the link")],
            "responses": {
                "200": response("VAST", "application/xml"),
                **problem_responses(
                    _400="The token is missing or invalid",
                    _404="The creative does not exist any more",
                    _410="The link has expired",
                    _429=RATE_LIMITED,
                ),
            },
        }
    },
    "/v1/ads": {
        "post": {
            "summary": "Send many ad requests in one call; trusted networks need no token",
            "tags": ["players"],
            "security": [{"adminToken": []}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": object_of(requests=array_of(ref("AdRequest")))}},
            },
            "responses": {
                "200": response("A line of JSON for each request", "application/x-ndjson", ref("BatchResult")),
                **problem_responses(
                    _400="The list is invalid or too long",
                    _401="The token is missing or wrong",
                    _429="Too many wrong tokens",
                ),
            },
        }
    },
    "/event/{event}": {
        "get": _BEACON | {"summary": "Report an event, which counts once for each ad"},
        "post": _BEACON | {"summary": "Report an event by POST; the body is ignored"},
    },
    "/click": {
        "get": {
            "summary": "Count a click and redirect to its destination",
            "tags": ["players"],
            "parameters": [_TOKEN],
            "responses": {
                "302": response("A redirect to the signed destination", Location="The destination"),
                **problem_responses(_400="The token is missing or invalid"),
            },
        }
    },
    "/v1/sessions": {
        "post": {
            "summary": "Start a viewing session",
            "tags": ["sessions"],
            "requestBody": {"content": {"application/json": {"schema": ref("NewSession")}}},
            "responses": {
                "201": json_response("The session", ref("Session"), Location="URL of the session"),
                **problem_responses(_400="A value is invalid", _429=RATE_LIMITED),
            },
        }
    },
    "/v1/sessions/{id}": {
        "get": {
            "summary": "Get a viewing session",
            "tags": ["sessions"],
            "parameters": [_SESSION_ID],
            "responses": {
                "200": json_response("The session", ref("Session")),
                **problem_responses(_404="The session never existed", _410="The session has ended", _429=RATE_LIMITED),
            },
        },
        "delete": {
            "summary": "End a viewing session",
            "tags": ["sessions"],
            "parameters": [_SESSION_ID],
            "responses": {
                "204": response("The session has ended"),
                **problem_responses(
                    _404="The session never existed", _410="The session had already ended", _429=RATE_LIMITED
                ),
            },
        },
    },
}
