"""What operators, finance's tools and monitoring ask for."""

from typing import Any

from app.campaign_file.models import TABLES
from app.domain import ID_LENGTH_MAX, CampaignStatus
from app.web.admin import PAGE_DEFAULT, PAGE_MAX
from app.web.description.schemas import (
    FLAG,
    MOMENT,
    MONEY,
    NUMBER,
    TEXT,
    WHOLE,
    Json,
    answer,
    json_answer,
    listed,
    nullable,
    parameter,
    problems,
    ref,
    thing,
)

_ID = parameter("id", "Its id", {"type": "string", "maxLength": ID_LENGTH_MAX}, place="path", required=True)

_AMOUNTS: Json = {
    "campaign_id": TEXT,
    "currency": TEXT,
    "spent": MONEY,
    "held": MONEY,
    "limit": nullable(MONEY),
    "remaining": nullable(MONEY),
    "percentage_spent": nullable(NUMBER),
    "period": nullable(TEXT),
}

_IMPRESSIONS: Json = {
    "impressions": WHOLE,
    "impressions_limit": nullable(WHOLE),
    "impressions_remaining": nullable(WHOLE),
}

SCHEMAS: Json = {
    "Budget": thing(**_AMOUNTS, periods=listed(thing(**_AMOUNTS, **_IMPRESSIONS, period_start=TEXT))),
    "Stats": thing(total=WHOLE, success=WHOLE, failed=WHOLE, capped=WHOLE, success_rate=NUMBER, avg_latency=NUMBER),
    "Readiness": thing(
        ready=FLAG, database=TEXT, schema=nullable(TEXT), schema_needed=TEXT, breakers={"type": "object"}
    ),
    "UpstreamStatus": thing(
        id=TEXT,
        state=TEXT,
        last_minutes={"type": "object"},
        max_qps=nullable(WHOLE),
        quota_used=nullable(NUMBER),
        last_refusal=nullable(thing(at=MOMENT, kind=TEXT, detail=TEXT)),
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
        "responses": answers | problems(_401="No token, or a wrong one", _429="Too many wrong tokens"),
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


def put_body(name: str) -> str:
    """The schema of what replaces such a thing: its id may be left out, because it stands in the URL."""
    return f"{name}Body"


def _table_paths(kind: str) -> Json:
    """The operations on one of the campaign file's lists."""
    name = kind.removesuffix("s")
    entry, missing = ref(name.capitalize()), problems(_404=f"There is no such {name}")
    faults = problems(_400="What is wrong with it", _415="Not JSON")
    one: dict[str, Any] = {
        "get": _admin(f"One {name}", _ID, _200=json_answer("As in the campaign file", entry), **missing),
        "put": _admin(
            f"Create the {name} or replace it as a whole",
            _ID,
            body=ref(put_body(name.capitalize())),
            _200=json_answer("Replaced", entry, X_Notes="What to know of the change, as a JSON list"),
            _201=json_answer("Created", entry),
            **faults,
        ),
    }
    if kind == "campaigns":
        one["patch"] = _admin(
            "Pause, resume or end the campaign",
            _ID,
            body=thing(status={"type": "string", "enum": list(CampaignStatus)}),
            _200=json_answer("Changed", entry, X_Notes="What to know of the change, as a JSON list"),
            **faults,
            **missing,
        )
    page = [
        parameter("after", "Id after which the page begins"),
        parameter("limit", f"Most entries; {PAGE_DEFAULT} if not given", WHOLE | {"minimum": 1, "maximum": PAGE_MAX}),
    ]
    found = json_answer("A page, in the order of ids", thing(**{kind: listed(entry), "next_after": nullable(TEXT)}))
    return {
        f"/v1/{kind}": {"get": _admin(f"The {kind}", *page, _200=found, **problems(_400="No such page"))},
        f"/v1/{kind}/{{id}}": one,
    }


PATHS: Json = {
    "/v1/campaigns/{id}/budget": _get(
        "What a campaign has spent, for each running budget period",
        _ID,
        tags="set-up",
        _200=json_answer("The longest period, and each in `periods`", ref("Budget")),
        **problems(_404="There is no such campaign"),
    ),
    "/v1/stats": _get("Requests since the start, in all workers", _200=json_answer("Counts", ref("Stats"))),
    "/v1/upstreams/status": _get(
        "How upstreams did over the last minutes",
        _200=json_answer("Every upstream", thing(upstreams=listed(ref("UpstreamStatus")))),
    ),
    "/healthz": _get("Whether the process answers", _200=json_answer("It does", thing(status=TEXT))),
    "/readyz": _get(
        "Whether it can serve",
        _200=json_answer("It can", ref("Readiness")),
        _503=json_answer("It cannot", ref("Readiness")),
    ),
    "/metrics": _get("Metrics of all workers", _200=answer("Prometheus text format", "text/plain")),
    "/openapi.json": _get("This description", _200=json_answer("OpenAPI 3.1", {"type": "object"})),
    **{path: item for kind in TABLES for path, item in _table_paths(kind).items()},
}
