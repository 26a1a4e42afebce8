"""What operators, finance's tools and monitoring ask for."""

from typing import Any

from app.campaign_file.models import TABLES
from app.domain import ID_LENGTH_MAX, CampaignStatus
from app.web.admin import PAGE_DEFAULT, PAGE_MAX
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

_ID = parameter("id", "Its id", {"type": "string", "maxLength": ID_LENGTH_MAX}, place="path", required=True)

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


def _get(summary: str, *parameters: Json, tags: str = "operations", **responses: Json) -> Json:
    """A GET that anybody may send."""
    answers = {status.lstrip("_"): response for status, response in responses.items()}
    described: dict[str, Any] = {"summary": summary, "tags": [tags], "responses": answers}
    return {"get": described | ({"parameters": list(parameters)} if parameters else {})}


def _admin(summary: str, *parameters: Json, body: Json | None = None, **responses: Json) -> Json:
    """An operation that asks for the token."""
    answers = {status.lstrip("_"): response for status, response in responses.items()}
    described: dict[str, Any] = {
        "summary": summary,
        "tags": ["set-up"],
        "security": [{"adminToken": []}],
        "parameters": list(parameters),
        "responses": answers | problem_responses(_401="No token, or a wrong one", _429="Too many wrong tokens"),
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def put_body(name: str) -> str:
    """The schema of the body of a PUT; the id may be omitted, because it is in the URL."""
    return f"{name}Body"


def _table_paths(kind: str) -> Json:
    """The operations on one of the campaign file's lists."""
    name = kind.removesuffix("s")
    entry, missing = ref(name.capitalize()), problem_responses(_404=f"There is no such {name}")
    faults = problem_responses(_400="What is wrong with it", _415="Not JSON")
    one: dict[str, Any] = {
        "get": _admin(f"One {name}", _ID, _200=json_response("As in the campaign file", entry), **missing),
        "put": _admin(
            f"Create the {name} or replace it as a whole",
            _ID,
            body=ref(put_body(name.capitalize())),
            _200=json_response("Replaced", entry, X_Notes="What to know of the change, as a JSON list"),
            _201=json_response("Created", entry),
            **faults,
        ),
    }
    if kind == "campaigns":
        one["patch"] = _admin(
            "Pause, resume or end the campaign",
            _ID,
            body=object_of(status={"type": "string", "enum": list(CampaignStatus)}),
            _200=json_response("Changed", entry, X_Notes="What to know of the change, as a JSON list"),
            **faults,
            **missing,
        )
    page = [
        parameter("after", "Id after which the page begins"),
        parameter("limit", f"Most entries; {PAGE_DEFAULT} if not given", INTEGER | {"minimum": 1, "maximum": PAGE_MAX}),
    ]
    found = json_response(
        "A page, in the order of ids", object_of(**{kind: array_of(entry), "next_after": nullable(STRING)})
    )
    return {
        f"/v1/{kind}": {"get": _admin(f"The {kind}", *page, _200=found, **problem_responses(_400="No such page"))},
        f"/v1/{kind}/{{id}}": one,
    }


PATHS: Json = {
    "/v1/campaigns/{id}/budget": _get(
        "What a campaign has spent, for each running budget period",
        _ID,
        tags="set-up",
        _200=json_response("The longest period, and each in `periods`", ref("Budget")),
        **problem_responses(_404="There is no such campaign"),
    ),
    "/v1/stats": _get("Requests since the start, in all workers", _200=json_response("Counts", ref("Stats"))),
    "/v1/upstreams/status": _get(
        "How upstreams did over the last minutes",
        _200=json_response("Every upstream", object_of(upstreams=array_of(ref("UpstreamStatus")))),
    ),
    "/healthz": _get("Whether the process answers", _200=json_response("It does", object_of(status=STRING))),
    "/readyz": _get(
        "Whether it can serve",
        _200=json_response("It can", ref("Readiness")),
        _503=json_response("It cannot", ref("Readiness")),
    ),
    "/metrics": _get("Metrics of all workers", _200=response("Prometheus text format", "text/plain")),
    "/openapi.json": _get("This description", _200=json_response("OpenAPI 3.1", {"type": "object"})),
    **{path: item for kind in TABLES for path, item in _table_paths(kind).items()},
}
