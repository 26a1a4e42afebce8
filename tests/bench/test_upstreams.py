import tomllib
from decimal import Decimal

import httpx
import pytest

from app.campaign_file.parser import read_draft
from bench.upstreams import campaigns, page
from bench.upstreams.audience import Seen
from bench.upstreams.misbehaving import PRIMARY, Behavior, Stagehand, document
from bench.upstreams.trials import CROWDS, BlackHole, Outcome, Speed


def test_its_campaign_file_is_one() -> None:
    text = campaigns.campaign_file("http://127.0.0.1:1")
    draft = read_draft("bench", tomllib.loads(text, parse_float=Decimal))
    assert draft is not None
    trials = {campaigns.trial_id(tried, key) for tried in campaigns.BEHAVIORS for key in campaigns.PROTECTIONS}
    assert {f'id = "{trial}"' for trial in trials} <= set(text.splitlines())


async def test_an_upstream_misbehaves_on_cue_and_is_well_without_one() -> None:
    stagehand = Stagehand()
    async with stagehand.listening(), httpx.AsyncClient(base_url=stagehand.url) as client:
        assert (await client.get("/a")).content == document(PRIMARY)
        stagehand.cues["/a"] = Behavior.ERROR
        assert (await client.get("/a")).status_code == 500
        stagehand.cues["/a"] = Behavior.RESET
        with pytest.raises(httpx.ReadError):
            await client.get("/a")
        stagehand.cues["/a"] = Behavior.HANG
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/a?of=u1", timeout=httpx.Timeout(60, read=1))
        assert (await client.get("/b")).content == document(PRIMARY)
    assert stagehand.asked == {"/a": 4, "/b": 1}
    assert "/a?of=u1" in stagehand.targets


def test_the_tables_say_what_was_measured() -> None:
    outcomes = {(tried, campaigns.ALL_ON): Outcome(0.5, 0.25, 7.4, 310.0) for tried in campaigns.BEHAVIORS}
    slow, quick = [Seen("u", 10.0, None)], [Seen("u", 8.0, PRIMARY)]
    hole = BlackHole(unbroken=slow, waited=slow, spared=slow, fallback=quick, own_before=quick, own_during=slow)
    speeds = {
        (kind, players): [Speed(1000.0 if kind == "c" else 900.0, 1.0, 2.0, 3.0)]
        for kind in page.KINDS
        for players in CROWDS
    }
    written = page.tables(outcomes, hole, speeds, load_before=0.1)
    assert "| all on | 50%, 25% · 7 / 310 |" in written
    assert "| behind the open breaker | 1 | 10.0 | 10.0 | 1.25 times the fallback alone |" in written
    assert "| upstream of 50 ms, cache on | 200 | 900 | 0.90 | 1.0 | 2.0 | 3.0 |" in written
