"""Compiled answers: kept for as long as what they were made of stays the same."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.domain import Advertiser, Catalog, Creative, VastVersion
from app.serving import answers
from app.serving.answers import Answers
from app.serving.outcomes import Served, ServedAd
from app.serving.tokens import TokenSigner
from tests.unit.vast.creatives import ADVERTISER, CAMPAIGN, PLAIN


def catalog(revision: int, advertiser: str = ADVERTISER, creative: Creative = PLAIN) -> Catalog:
    advertisers = {CAMPAIGN.advertiser: Advertiser(CAMPAIGN.advertiser, advertiser)}
    return Catalog(revision, None, {CAMPAIGN.id: CAMPAIGN}, {CAMPAIGN.id: (creative,)}, {}, {}, {}, advertisers)


def served(creative: Creative) -> Served:
    return Served(UUID(int=1), datetime(2026, 5, 1, tzinfo=UTC), (ServedAd(0, creative.campaign_id, creative, None),))


def test_a_creative_is_compiled_again_when_it_or_its_advertiser_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    own_document = answers.own_document

    def count(creative: Creative, *rest: Any) -> Any:
        compiled.append(creative.title)
        return own_document(creative, *rest)

    monkeypatch.setattr(answers, "own_document", count)
    made = Answers(TokenSigner(["secret"], 3600), "http://127.0.0.1")

    def answer(known: Catalog) -> str:
        ((creative,),) = known.creatives.values()
        return made.vast(served(creative), VastVersion.V4_2, known).decode()

    before = [answer(catalog(1)), answer(catalog(1)), answer(catalog(2))]
    assert (len(set(before)), compiled) == (1, ["Acme"])
    assert "Somebody" in answer(catalog(3, "Somebody"))
    assert "Summer" in answer(catalog(4, creative=replace(PLAIN, title="Summer")))
    assert compiled == ["Acme", "Acme", "Summer"]
