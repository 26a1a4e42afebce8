"""OpenAPI descriptions of the endpoints for operators, finance and monitoring."""

from typing import Any

from app.campaign_file.fields import WORD_LENGTH_MAX
from app.campaign_file.models import TABLES
from app.domain import ID_LENGTH_MAX, VastVersion
from app.web.admin import PAGE_DEFAULT, PAGE_MAX, STATUSES
from app.web.openapi.schemas import (
    BOOLEAN,
    DATE_TIME,
    DECIMAL,
    INTEGER,
    NUMBER,
    STRING,
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

_ID = parameter("id", "Id of the item", {"type": "string", "maxLength": ID_LENGTH_MAX}, place="path", required=True)
_ADVERTISER_ID = parameter(
    "id", "Id of the advertiser", {"type": "string", "maxLength": WORD_LENGTH_MAX}, place="path", required=True
)

_AMOUNTS: Json = {
    "campaign_id": STRING,
    "currency": STRING,
    "spent": DECIMAL,
    "held": DECIMAL,
    "limit": nullable(DECIMAL),
    "remaining": nullable(DECIMAL),
    "percentage_spent": nullable(NUMBER),
    "period": nullable(STRING),
}

_IMPRESSIONS: Json = {
    "impressions": INTEGER,
    "impressions_limit": nullable(INTEGER),
    "impressions_remaining": nullable(INTEGER),
    "unit": {"enum": ["impressions", "clicks", "completions"], "description": "What the numbers count"},
}

SCHEMAS: Json = {
    "Budget": object_of(**_AMOUNTS, periods=array_of(object_of(**_AMOUNTS, **_IMPRESSIONS, period_start=STRING))),
    "Stats": object_of(
        total=INTEGER, success=INTEGER, failed=INTEGER, capped=INTEGER, success_rate=NUMBER, avg_latency=NUMBER
    ),
    "Readiness": object_of(
        ready=BOOLEAN, database=STRING, schema=nullable(STRING), schema_needed=STRING, breakers={"type": "object"}
    ),
    "UpstreamStatus": object_of(
        id=STRING,
        state=STRING,
        last_minutes={"type": "object"},
        max_qps=nullable(INTEGER),
        quota_used=nullable(NUMBER),
        last_refusal=nullable(object_of(at=DATE_TIME, kind=STRING, detail=STRING)),
    ),
}

_NEW_PREVIEW: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"vast_version": {"type": "string", "enum": list(VastVersion), "default": VastVersion.V4_2}},
}


def _get(summary: str, *parameters: Json, tags: str = "operations", **responses: Json) -> Json:
    """Describe a GET without a token."""
    answers = {status.lstrip("_"): response for status, response in responses.items()}
    described: dict[str, Any] = {"summary": summary, "tags": [tags], "responses": answers}
    return {"get": described | ({"parameters": list(parameters)} if parameters else {})}


def _admin(summary: str, *parameters: Json, body: Json | None = None, **responses: Json) -> Json:
    """Describe an operation that requires the admin token."""
    answers = {status.lstrip("_"): response for status, response in responses.items()}
    described: dict[str, Any] = {
        "summary": summary,
        "tags": ["set-up"],
        "security": [{"adminToken": []}],
        "parameters": list(parameters),
        "responses": answers | problem_responses(_401="The token is missing or wrong", _429="Too many wrong tokens"),
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def put_body(name: str) -> str:
    """Return the name of the schema of a PUT's body, in which the id is optional because it is in the URL."""
    return f"{name}Body"


def _table_paths(kind: str) -> Json:
    """Describe the operations on a list of the campaign file."""
    name = kind.removesuffix("s")
    item_id = _ADVERTISER_ID if kind == "advertisers" else _ID
    entry, missing = ref(name.capitalize()), problem_responses(_404=f"The {name} does not exist")
    faults = problem_responses(_400="The body is invalid", _415="The body is not JSON")
    item: dict[str, Any] = {
        "get": _admin(
            f"Get the {name}", item_id, _200=json_response("The entry as in the campaign file", entry), **missing
        ),
        "put": _admin(
            f"Create or replace the {name}",
            item_id,
            body=ref(put_body(name.capitalize())),
            _200=json_response("Replaced", entry, X_Notes="Warnings about the change, as a JSON list"),
            _201=json_response("Created", entry),
            **faults,
        ),
    }
    if kind in STATUSES:
        item["patch"] = _admin(
            f"Change the status of the {name}",
            _ID,
            body=object_of(status={"type": "string", "enum": [status.value for status in STATUSES[kind]]}),
            _200=json_response("Changed", entry, X_Notes="Warnings about the change, as a JSON list"),
            **faults,
            **missing,
        )
    page = [
        parameter("after", "Id after which the page starts"),
        parameter(
            "limit",
            f"Maximum number of entries; {PAGE_DEFAULT} by default",
            INTEGER | {"minimum": 1, "maximum": PAGE_MAX},
        ),
    ]
    found = json_response("A page sorted by id", object_of(**{kind: array_of(entry), "next_after": nullable(STRING)}))
    return {
        f"/v1/{kind}": {
            "get": _admin(f"List the {kind}", *page, _200=found, **problem_responses(_400="The limit is invalid"))
        },
        f"/v1/{kind}/{{id}}": item,
    }


PATHS: Json = {
    "/v1/creatives/{id}/preview": {
        "post": _admin(
            "Make a link to a preview of the creative",
            _ID,
            _200=json_response("The link", object_of(url=STRING, vast_version=STRING, expires_at=DATE_TIME)),
            **problem_responses(_400="The body is invalid", _404="The creative does not exist"),
        )
        | {"requestBody": {"content": {"application/json": {"schema": _NEW_PREVIEW}}}}
    },
    "/v1/campaigns/{id}/budget": _get(
        "Spend of a campaign in its current budget periods",
        _ID,
        tags="set-up",
        _200=json_response("Amounts of the longest period, and of every period in `periods`", ref("Budget")),
        **problem_responses(_404="The campaign does not exist"),
    ),
    "/v1/stats": _get("Requests of all workers since the server started", _200=json_response("Counts", ref("Stats"))),
    "/v1/upstreams/status": _get(
        "Status of the upstreams over the last minutes",
        _200=json_response("Every upstream", object_of(upstreams=array_of(ref("UpstreamStatus")))),
    ),
    "/healthz": _get("Whether the process runs", _200=json_response("It runs", object_of(status=STRING))),
    "/readyz": _get(
        "Whether this worker can serve",
        _200=json_response("It can serve", ref("Readiness")),
        _503=json_response("It cannot serve", ref("Readiness")),
    ),
    "/metrics": _get("Metrics of all workers", _200=response("Prometheus text format", "text/plain")),
    "/openapi.json": _get("This OpenAPI document", _200=json_response("OpenAPI 3.1", {"type": "object"})),
    **{path: item for kind in TABLES for path, item in _table_paths(kind).items()},
}
