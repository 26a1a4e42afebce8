"""What real players' parsers find in answers: every Ad, every media file, every tracker of everybody."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from lxml import etree

from tests.acceptance.conftest import Databases
from tests.acceptance.test_vast import pages
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import UpstreamServer
from tests.players import UNHURRIED, serving

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "demo-player" / "node_modules"
BUNDLE = ROOT / "build" / "player_parsers.cjs"
COMMAND_TIMEOUT_S = 120

VERSIONS = ("2.0", "3.0", "4.0", "4.1", "4.2")
BOTH = ("client", "fluid")
OURS = {"start", "firstQuartile", "midpoint", "thirdQuartile", "complete"}
BREAKS = 'ad_breaks = [ { id = "pre", time_offset = "start" }, { id = "mid", time_offset = "50%", pod_size = 4 } ]\n'

Found = dict[str, object]


@pytest.fixture(scope="session")
def parsers() -> Path:
    """The parsers of @dailymotion/vast-client and Fluid Player as one program, made with npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js with npm, which the players' parsers need")
    try:
        if not PACKAGES.exists():
            _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=PACKAGES.parent)
        source = Path(__file__).with_name("player_parsers.js")
        bundle = ("--bundle", "--platform=node", "--log-level=error", f"--outfile={BUNDLE}")
        _run("npx", "--no-install", "esbuild", str(source), *bundle, cwd=PACKAGES.parent)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"the players' parsers cannot be bundled here: {error}")
    return BUNDLE


def _run(*command: str, cwd: Path) -> None:
    environment = os.environ | {"NODE_PATH": str(PACKAGES)}
    subprocess.run(command, check=True, timeout=COMMAND_TIMEOUT_S, capture_output=True, cwd=cwd, env=environment)


@dataclass(frozen=True)
class Rig:
    """A player of the ad server, and a network's ad servers behind it."""

    player: httpx.AsyncClient
    network: UpstreamServer
    parsers: Path

    def answer(self, documents: Mapping[str, str]) -> dict[str, str]:
        """Has the network answer each path with its document; the documents by their URLs."""
        at = {path: document.replace("{network}", self.network.url) for path, document in documents.items()}
        self.network.behavior = pages({path: document.encode() for path, document in at.items()})
        return {self.network.url + path: document for path, document in at.items()}

    async def assert_all_is_found(
        self, path: str, behind: Mapping[str, str], *, ads: int, by: Collection[str] = BOTH, **asked: str
    ) -> None:
        """Asks for a document, has the parsers read it, and holds what they found against what is in it."""
        response = await self.player.get(path, params=asked)
        documents = {**behind, "tag": response.text}
        there = in_document(documents, "tag")
        assert len(there) == ads, response.text
        found = await asyncio.to_thread(self._read, [{"tag": "tag", "documents": documents}])
        for parser in by:
            assert [sets(ad, parser) for ad in found[0][parser]] == [sets(ad, parser) for ad in there], response.text

    def _read(self, tasks: list[object]) -> list[dict[str, list[Found]]]:
        done = subprocess.run(
            ["node", self.parsers],
            input=json.dumps(tasks),
            check=True,
            timeout=COMMAND_TIMEOUT_S,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
async def rig(of_module: Databases, parsers: Path) -> AsyncIterator[Rig]:
    async with UpstreamServer() as network:
        await set_up(
            of_module.owner,
            *(upstream(name, f"{network.url}/{name}", timeout_ms=15_000) for name in ("one", "other")),
            *(campaign(name, advertiser=name, upstreams=[name]) for name in ("one", "other")),
            own_campaign("acme"),
            placement("mixed", "acme", "one", "other") + BREAKS,
        )
        async with (
            serving(of_module.app, WORKERS="1", ALLOWED_NETWORKS="127.0.0.0/8", **UNHURRIED) as server,
            httpx.AsyncClient(base_url=server.url, timeout=30) as player,
        ):
            yield Rig(player, network, parsers)


def in_document(documents: Mapping[str, str], url: str) -> list[Found]:
    """What each Ad has by itself and by the Wrappers that lead to it."""
    found = []
    for ad in etree.fromstring(documents[url].encode()).iter("{*}Ad"):
        here: Found = {
            "impressions": texts(ad, "Impression"),
            "errors": texts(ad, "Error"),
            "tracking": {
                event: tracking(ad, event) for event in {element.get("event") for element in ad.iter("{*}Tracking")}
            },
            "clicks": texts(ad, "ClickTracking"),
            "mediaFiles": texts(ad, "MediaFile"),
        }
        assert any("/event/impression?t=" in uri for uri in here["impressions"]) or url != "tag"
        assert set(here["tracking"]) >= OURS or url != "tag"
        next_url = "".join(texts(ad, "VASTAdTagURI"))
        found += [joined(here, inner) for inner in in_document(documents, next_url)] if next_url else [here]
    return found


def joined(outer: Found, inner: Found) -> Found:
    events = {*outer["tracking"], *inner["tracking"]}
    both = {name: outer[name] + inner[name] for name in ("impressions", "errors", "clicks", "mediaFiles")}
    parts = (outer["tracking"], inner["tracking"])
    return {**both, "tracking": {event: [uri for part in parts for uri in part.get(event, [])] for event in events}}


def texts(element: etree._Element, name: str) -> list[str]:
    return [(found.text or "").strip() for found in element.iter(f"{{*}}{name}")]


def tracking(ad: etree._Element, event: str | None) -> list[str]:
    return [(found.text or "").strip() for found in ad.iter("{*}Tracking") if found.get("event") == event]


def sets(ad: Found, parser: str) -> Found:
    """Fluid Player reads some trackers twice, and an Error only where there is just one."""
    comparable = {name: set(ad[name]) for name in ("impressions", "errors", "clicks", "mediaFiles")}
    if parser == "fluid":
        del comparable["errors"]
    return {**comparable, "tracking": {event: set(uris) for event, uris in ad["tracking"].items()}}


def root(version: str, ads: str, *, namespace: bool = True) -> str:
    xmlns = ' xmlns="http://www.iab.com/VAST"' if namespace and version >= "4" else ""
    return f'<VAST version="{version}"{xmlns}>{ads}</VAST>'


def inline(version: str, name: str = "theirs", *, namespace: bool = True) -> str:
    """A valid InLine with trackers of its own."""
    impression = f"<Impression>https://{name}.example/impression</Impression>"
    serving_id = "<AdServingId>1</AdServingId>" if version >= "4.1" else ""
    value = ' idValue="1"' if version == "4.0" else ""
    universal = f'<UniversalAdId idRegistry="r"{value}>{name}</UniversalAdId>' if version >= "4" else ""
    duration = "<Duration>00:00:10</Duration>"
    events = f"""<TrackingEvents><Tracking event="start">https://{name}.example/start</Tracking>
        <Tracking event="complete">https://{name}.example/complete</Tracking></TrackingEvents>"""
    files = "".join(
        f'<MediaFile delivery="progressive" type="video/mp4" width="{width}" height="360">'
        f"<![CDATA[https://{name}.example/{width}.mp4]]></MediaFile>"
        for width in (640, 1280)
    )
    media, clicks = f"<MediaFiles>{files}</MediaFiles>", clicks_of(name)
    linear = events + duration + media + clicks if version >= "4" else duration + events + clicks + media
    return root(
        version,
        f"""<Ad id="{name}"><InLine><AdSystem>{name}</AdSystem>{impression if version >= "4" else ""}{serving_id}
        <AdTitle>{name}</AdTitle>{impression if version < "4" else ""}
        <Creatives><Creative><Linear>{linear}</Linear>{universal}</Creative></Creatives></InLine></Ad>""",
        namespace=namespace,
    )


def clicks_of(name: str) -> str:
    return f"<VideoClicks><ClickTracking>https://{name}.example/click</ClickTracking></VideoClicks>"


def wrapper(version: str, path: str, name: str = "wrapping", *, namespace: bool = True) -> str:
    """A valid Wrapper with trackers of its own."""
    uri = f"<VASTAdTagURI><![CDATA[{{network}}{path}]]></VASTAdTagURI>"
    error = f"<Error>https://{name}.example/error</Error>"
    creatives = f"""<Creatives><Creative><Linear><TrackingEvents>
        <Tracking event="start">https://{name}.example/start</Tracking></TrackingEvents>{clicks_of(name)}</Linear>
        </Creative></Creatives>"""
    return root(
        version,
        f"""<Ad id="{name}"><Wrapper><AdSystem>{name}</AdSystem>{uri if version < "4" else ""}
        {error if version >= "4" else ""}<Impression>https://{name}.example/impression</Impression>{creatives}
        {uri if version >= "4" else ""}</Wrapper></Ad>""",
        namespace=namespace,
    )


each_version = pytest.mark.parametrize("version", VERSIONS)


@each_version
async def test_an_own_ad_is_read(rig: Rig, version: str) -> None:
    await rig.assert_all_is_found("/vast", {}, ads=1, campaign_id="acme", vast_version=version)


@each_version
async def test_an_upstreams_inline_is_read(rig: Rig, version: str) -> None:
    await rig.assert_all_is_found("/vast", rig.answer({"/one": inline(version)}), ads=1, campaign_id="one")


@each_version
async def test_an_upstreams_wrapper_is_read_with_the_ad_that_it_leads_to(rig: Rig, version: str) -> None:
    behind = rig.answer({"/one": wrapper(version, "/next"), "/next": inline("3.0")})
    await rig.assert_all_is_found("/vast", behind, ads=1, campaign_id="one")


@pytest.mark.parametrize("inner", VERSIONS)
@pytest.mark.parametrize("outer", VERSIONS)
async def test_an_unwrapped_chain_over_versions_is_read(rig: Rig, outer: str, inner: str) -> None:
    for namespace in (True, False):
        chain = {
            "/one": wrapper(outer, "/again", namespace=namespace),
            "/again": wrapper("4.1", "/next", "again", namespace=not namespace),
            "/next": inline(inner, namespace=namespace),
        }
        await rig.assert_all_is_found("/vast", rig.answer(chain), ads=1, campaign_id="one", unwrap="1")


@pytest.mark.parametrize("other", VERSIONS)
@pytest.mark.parametrize("one", VERSIONS)
async def test_a_pod_of_mixed_versions_is_read(rig: Rig, one: str, other: str) -> None:
    documents = {"/one": inline(one, "one"), "/other": inline(other, "other", namespace=False)}
    asked = {"placement_id": "mixed", "pod_size": "3", "vast_version": "3.0"}
    await rig.assert_all_is_found("/vast", rig.answer(documents), ads=3, **asked)


@pytest.mark.parametrize(("unwrap", "by"), [("0", ("client",)), ("1", BOTH)])
async def test_a_pod_with_a_wrapper_of_another_version_is_read(rig: Rig, unwrap: str, by: Collection[str]) -> None:
    """Fluid Player takes the `sequence` of the ad that a Wrapper leads to, and so leaves it out of the pod."""
    documents = {"/one": wrapper("3.0", "/next"), "/next": inline("2.0"), "/other": inline("4.2", "other")}
    asked = {"placement_id": "mixed", "pod_size": "3", "unwrap": unwrap}
    await rig.assert_all_is_found("/vast", rig.answer(documents), ads=3, by=by, **asked)


async def test_a_vmap_with_ads_of_mixed_versions_is_read(rig: Rig) -> None:
    documents = {"/one": wrapper("2.0", "/next"), "/next": inline("4.0"), "/other": inline("3.0", "other")}
    asked = {"placement_id": "mixed", "embed": "1", "unwrap": "1"}
    await rig.assert_all_is_found("/vmap", rig.answer(documents), ads=4, **asked)
