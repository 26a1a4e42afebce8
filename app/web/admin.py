"""The admin API: what ad operations set up, over HTTP. And what a campaign has spent."""

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
from app.domain import CampaignStatus
from app.errors import InvalidRequest
from app.store.budget_periods import BudgetStatus
from app.web.bearer_auth import BearerAuth, Handler
from app.web.bodies import read_body
from app.web.ports import OperatorAccess
from app.web.problems import problem

log = structlog.get_logger()

PAGE_DEFAULT = 100
PAGE_MAX = 1000


class CampaignAdminEndpoints:
    """`/v1/campaigns`, `/v1/creatives`, `/v1/upstreams`, `/v1/placements` and `/v1/publishers`."""

    def __init__(
        self, desk: CampaignAdminService, token: BearerAuth, figures: OperatorAccess, max_body_bytes: int
    ) -> None:
        self._desk = desk
        self._token = token
        self._figures = figures
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[BaseRoute]:
        """The budget first, which is a figure; the others ask for the token."""
        return [
            Route("/v1/campaigns/{id}/budget", self._figures.protect(self._budget)),
            *(Route(f"/v1/{kind}", self._token.protect(self._list(kind))) for kind in TABLES),
            *(
                Route(
                    f"/v1/{kind}/{{id}}",
                    self._token.protect(self._one(kind)),
                    methods=["GET", "PUT", "PATCH"] if kind == "campaigns" else ["GET", "PUT"],
                )
                for kind in TABLES
            ),
        ]

    def _list(self, kind: str) -> Handler:
        async def list_things(request: Request) -> Response:
            page = await self._desk.page(kind, request.query_params.get("after", ""), _page_size(request))
            return _json({kind: page.entries, "next_after": page.next_after})

        return list_things

    def _one(self, kind: str) -> Handler:
        async def one_thing(request: Request) -> Response:
            thing_id = request.path_params["id"]
            if request.method in ("GET", "HEAD"):
                return _json(await self._desk.get(kind, thing_id))
            if not _is_json(request):
                return problem(415, "the body must be sent as application/json")
            body = await self._object(request)
            if request.method == "PUT":
                changed = await self._desk.put(kind, thing_id, body)
            else:
                changed = await self._desk.set_status(thing_id, _status(body))
            if changed.changes:
                log.info("setup changed", kind=kind, id=thing_id, created=changed.created, changes=changed.changes)
            return _answer(changed)

        return one_thing

    async def _object(self, request: Request) -> dict[str, Any]:
        """The JSON object in the body, with exact numbers: money must not pass through a float."""
        body = await read_body(request, self._max_body_bytes)
        try:
            orjson.loads(body)  # The other parser lets half a surrogate pair pass, which no answer could repeat.
            value = json.loads(body, parse_float=parse_exact_number, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError):
            raise InvalidRequest("body", "must be JSON in UTF-8") from None
        if not isinstance(value, dict):
            raise InvalidRequest("body", "must be a JSON object")
        return value

    async def _budget(self, request: Request) -> Response:
        return _json(_budget_answer(await self._desk.spending(request.path_params["id"])))


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if repeated := first_duplicate([key for key, _ in pairs]):
        raise InvalidRequest(repeated, "must not be there twice")
    return dict(pairs)


def _page_size(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX)) and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest("limit", f"must be a whole number from 1 to {PAGE_MAX}")
    return int(text)


def _status(body: Mapping[str, Any]) -> CampaignStatus:
    """The only thing that can be changed by itself."""
    for key in body:
        if key != "status":
            raise InvalidRequest(key, "cannot be changed by itself: PUT the whole campaign")
    if body.get("status") not in list(CampaignStatus):
        raise InvalidRequest("status", f"must be one of {', '.join(CampaignStatus)}")
    return CampaignStatus(body["status"])


def _answer(changed: ChangeResult) -> Response:
    """The entry as it is now; what the caller should know of the change stands in X-Notes, as JSON in ASCII."""
    response = _json(changed.entry, 201 if changed.created else 200)
    if changed.notes:
        response.headers["X-Notes"] = json.dumps(changed.notes)
    return response


def _budget_answer(spending: CampaignSpending) -> dict[str, object]:
    """The contract's fields for the longest period, and then for each."""
    campaign = spending.campaign
    periods = [_period(budget) for budget in spending.periods]
    if spending.total is not None:
        whole: Mapping[str, object] = {
            "campaign_id": campaign.id,
            "currency": campaign.currency,
            **{name: str(amount) for name, amount in asdict(spending.total).items()},
            "limit": None,
            "remaining": None,
            "percentage_spent": None,
            "period": None,
        }
    else:
        whole = periods[0]
    return {**whole, "periods": periods}


def _period(budget: BudgetStatus) -> dict[str, object]:
    shown = {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(budget).items()}
    percentage = budget.percentage_spent
    return shown | {
        "period_start": budget.period_start.isoformat(),
        "percentage_spent": None if percentage is None else float(percentage),
    }


def _json(value: object, status: int = 200) -> Response:
    return Response(
        orjson.dumps(value),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
