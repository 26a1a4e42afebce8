"""A sold order with a third party's trackers and verification: players get all of it in every version."""

from collections.abc import AsyncIterator

import httpx
import pytest
import tomli_w

from app.domain import VastVersion
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up
from tests.players import serving
from tests.unit.campaign_file.test_creative_elements import EVERYTHING, HERE
from tests.unit.vast.conftest import lint_errors, needs_reference, schema_faults, texts

MEDIA_FILE = {"url": "https://cdn.example/a.mp4", "type": "video/mp4", "width": 640, "height": 360}
CARRYING = {
    "id": "carrying-30s",
    "campaign_id": "carrying",
    "title": "Carrying",
    "duration_s": 29.97,
    "click_through": "https://acme.example/",
    "media_files": [MEDIA_FILE],
    **EVERYTHING,
}
DIRECT = {"campaign_id": "carrying"}
POD = {"placement_id": "pod", "pod_size": "2", "pod_duration_s": "45"}


@pytest.fixture(scope="module")
async def player(of_module: Databases) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        campaign("carrying"),
        tomli_w.dumps({"creatives": [CARRYING]}),
        own_campaign("plain", advertiser="Globex"),
        placement("pod", "carrying", "plain"),
    )
    async with serving(of_module.app, WORKERS="1") as server, httpx.AsyncClient(base_url=server.url) as player:
        yield player


@needs_reference
@pytest.mark.parametrize("version", list(VastVersion))
@pytest.mark.parametrize(("asked", "ads"), [(DIRECT, 1), (POD, 2)], ids=["one", "pod"])
async def test_a_third_partys_trackers_are_in_a_valid_document(
    player: httpx.AsyncClient, asked: dict[str, str], ads: int, version: str
) -> None:
    document = (await player.get("/vast", params={**asked, "vast_version": version})).content
    assert schema_faults(document) == []
    assert lint_errors(document) == []
    assert len(texts(document, "Ad")) == ads
    assert HERE in texts(document, "Impression")
    assert HERE in texts(document, "ClickTracking")
    assert HERE in texts(document, "JavaScriptResource")
    assert texts(document, "Duration")[0] == "00:00:29.970"


async def test_its_own_beacons_count_as_before(player: httpx.AsyncClient) -> None:
    document = (await player.get("/vast", params=DIRECT)).content
    own = [url for url in texts(document, "Impression") if url != HERE]
    assert len(own) == 1
    assert (await player.get(own[0])).status_code == 200
