"""The admin API for the items of a campaign file, and for campaigns' budgets."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.campaign_file.campaign_admin import CampaignAdminService, CampaignSpending, ChangeResult
from app.campaign_file.fields import first_duplicate, parse_exact_number
from app.campaign_file.models import TABLES
from app.domain import CampaignStatus, CreativeStatus
from app.errors import InvalidRequest
from app.store.budget_periods import BudgetStatus
from app.web.bearer_auth import BearerAuth, Handler
from app.web.bodies import read_body
from app.web.ports import OperatorAccess
from app.web.problems import problem

log = structlog.get_logger()

PAGE_DEFAULT = 100
PAGE_MAX = 1000

_ID_PATTERNS = {"advertisers": "{id:path}"}
"""Path patterns of ids that may contain slashes."""

STATUSES: Mapping[str, type[CampaignStatus | CreativeStatus]] = {
    "campaigns": CampaignStatus,
    "creatives": CreativeStatus,
}
"""The statuses of the kinds whose items can be paused."""

ADMIN_AUTHOR = "admin token"
"""The author of changes in the history: all requests have the same token."""


class CampaignAdminEndpoints:
    """`/v1/campaigns`, `/v1/creatives` and so on: a path for each list of a campaign file."""

    def __init__(
        self, service: CampaignAdminService, admin: BearerAuth, operators: OperatorAccess, max_body_bytes: int
    ) -> None:
        self._service = service
        self._admin = admin
        self._operators = operators
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[BaseRoute]:
        """Return the routes; operators may read budgets, everything else requires the admin token."""
        return [
            Route("/v1/campaigns/{id}/budget", self._operators.protect(self._budget)),
            *(Route(f"/v1/{kind}", self._admin.protect(self._list(kind))) for kind in TABLES),
            *(
                Route(
                    f"/v1/{kind}/{_ID_PATTERNS.get(kind, '{id}')}",
                    self._admin.protect(self._item(kind)),
                    methods=["GET", "PUT", "PATCH"] if kind in STATUSES else ["GET", "PUT"],
                )
                for kind in TABLES
            ),
        ]

    def _list(self, kind: str) -> Handler:
        async def list_items(request: Request) -> Response:
            page = await self._service.page(kind, request.query_params.get("after", ""), _page_size(request))
            return _json({kind: page.entries, "next_after": page.next_after})

        return list_items

    def _item(self, kind: str) -> Handler:
        async def handle_item(request: Request) -> Response:
            item_id = request.path_params["id"]
            if request.method in ("GET", "HEAD"):
                return _json(await self._service.get(kind, item_id))
            if not _is_json(request):
                return problem(415, "Content-Type must be application/json")
            body = await self._object(request)
            if request.method == "PUT":
                changed = await self._service.put(kind, item_id, body, ADMIN_AUTHOR)
            else:
                changed = await self._service.set_status(kind, item_id, _status(kind, body), ADMIN_AUTHOR)
            if changed.changes:
                log.info("setup_changed", kind=kind, id=item_id, created=changed.created, changes=changed.changes)
            return _change_response(changed)

        return handle_item

    async def _object(self, request: Request) -> dict[str, Any]:
        """Return the JSON object in the body with exact numbers, because money must not pass through a float."""
        body = await read_body(request, self._max_body_bytes)
        try:
            orjson.loads(body)  # The parser below accepts lone surrogates, which no response could repeat.
            value = json.loads(body, parse_float=parse_exact_number, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError):
            raise InvalidRequest("body", "must be JSON in UTF-8") from None
        if not isinstance(value, dict):
            raise InvalidRequest("body", "must be a JSON object")
        return value

    async def _budget(self, request: Request) -> Response:
        return _json(_budget_body(await self._service.spending(request.path_params["id"])))


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if duplicate := first_duplicate([key for key, _ in pairs]):
        raise InvalidRequest(duplicate, "must not be repeated")
    return dict(pairs)


def _page_size(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX)) and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest("limit", f"must be an integer between 1 and {PAGE_MAX}")
    return int(text)


def _status(kind: str, body: Mapping[str, Any]) -> str:
    """Return the status, the only key that a PATCH may change."""
    for key in body:
        if key != "status":
            raise InvalidRequest(key, f"cannot be patched: PUT the whole {kind.removesuffix('s')}")
    statuses = [status.value for status in STATUSES[kind]]
    if body.get("status") not in statuses:
        raise InvalidRequest("status", f"must be one of {', '.join(statuses)}")
    return str(body["status"])


def _change_response(changed: ChangeResult) -> Response:
    """Return the entry as it is now, with warnings about the change in X-Notes as a JSON list in ASCII."""
    response = _json(changed.entry, 201 if changed.created else 200)
    if changed.notes:
        response.headers["X-Notes"] = json.dumps(changed.notes)
    return response


def _budget_body(spending: CampaignSpending) -> dict[str, object]:
    """Return the amounts of the longest period, and those of all periods in `periods`."""
    campaign = spending.campaign
    unit = campaign.price.model.counted_unit
    periods = [_period(budget, unit) for budget in spending.periods]
    if spending.total is not None:
        totals: Mapping[str, object] = {
            "campaign_id": campaign.id,
            "currency": campaign.currency,
            **{name: str(amount) for name, amount in asdict(spending.total).items()},
            "limit": None,
            "remaining": None,
            "percentage_spent": None,
            "period": None,
        }
    else:
        totals = periods[0]
    return {**totals, "periods": periods}


def _period(budget: BudgetStatus, unit: str) -> dict[str, object]:
    shown = {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(budget).items()}
    percentage = budget.percentage_spent
    return shown | {
        "period_start": budget.period_start.isoformat(),
        "percentage_spent": None if percentage is None else float(percentage),
        "unit": unit,
    }


def _json(value: object, status: int = 200) -> Response:
    return Response(
        orjson.dumps(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
