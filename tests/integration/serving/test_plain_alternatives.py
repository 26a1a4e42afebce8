"""Serving with the plain alternatives of what is there for speed: see docs/adr/0008 and 0009."""

import asyncio
import uuid
from typing import Any

import pytest

from app.serving import keys, tokens, transaction
from app.serving.group_result import GroupResult
from app.serving.outcomes import Served
from app.serving.transaction import GroupTransaction
from tests.campaigns import own_campaign, set_up
from tests.invariants.world import running
from tests.players import disagreements
from tests.served_ads import serves_of
from tests.valid_vast import assert_valid

ADS = 20


async def serve_and_check(database: str) -> None:
    await set_up(database, own_campaign("own", cpm="1000", budgets={"lifetime": str(ADS)}))
    async with running(database) as server:
        requests = [{"campaign_id": "own", "user_id": f"u{index}", "request_id": f"r{index}"} for index in range(ADS)]
        outcomes = await asyncio.gather(*(server.ask(**request) for request in requests))
        documents = []
        for outcome in outcomes:
            assert isinstance(outcome, Served)
            documents.append(outcome.vast)
            assert_valid(outcome.vast)
            assert len(serves_of(outcome.vast)) == 1
        assert [(await server.served(**request)).vast for request in requests] == documents
        assert await server.reason(campaign_id="own") == "budget"
    assert await disagreements(database) == []


async def test_answers_may_be_rendered_after_commit(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = GroupTransaction.serve
    rendered = []

    async def serve_then_render(self: GroupTransaction, *arguments: Any) -> GroupResult:
        result = await serve(self, *arguments)
        rendered.extend(result.served)
        transaction._render(result, self._services.answers, self._catalog)
        return result

    monkeypatch.setattr(GroupTransaction, "_render_during_commit", lambda _self: None)
    monkeypatch.setattr(GroupTransaction, "serve", serve_then_render)
    await serve_and_check(database)
    assert len(rendered) >= ADS


async def test_keys_may_be_standard_uuids(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def standard_uuid(value: bytes | str) -> uuid.UUID:
        made.append(value)
        return uuid.UUID(value) if isinstance(value, str) else uuid.UUID(bytes=value)

    for module in (keys, tokens):
        monkeypatch.setattr(module, "DriverUUID", standard_uuid)
    await serve_and_check(database)
    assert made
