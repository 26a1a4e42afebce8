"""Real-world players: shared ids, odd spellings, opt-outs, and the values that upstreams get."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx
import orjson
import pytest

from app.launch.databases import command_store
from app.store import catalog_reader
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.players import SECRETS, connected, disagreements, serving

CAP = [{"impressions": 1, "per": "day"}]
ZERO = "00000000-0000-0000-0000-000000000000"
SHARED = [
    *(ZERO, ZERO.replace("-", ""), "0", "[UUID]", "%%ADVERTISING_IDENTIFIER_PLAIN%%", "{{device_id}}", "{user_id}"),
    *("${USER_ID}", "$$IFA$$", "__UID__", "<uid>", "@@uid@@", "#{uid}", "ROKU_ADS_TRACKING_ID", "%7Bdevice_id%7D"),
    *("-1", "-2", "{}", "[]", "undefined", "null", "none", "NaN", "(null)", "unknown", "N/A", "anonymous", " "),
]
WITHHELD = ("-2", ZERO, ZERO.replace("-", ""))
"""Of those, the ids that mean that the viewer must not be identified."""
UPSTREAM_QUERY = "u={user_id}&d={device_id}&i={ifa}&s={session_id}&ip={ip}&r={request_id}&gpc={gpc}"


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer(answer(inline("from upstream"))) as server:
        yield server


@pytest.fixture(scope="module")
async def player(of_module: Databases, network: UpstreamServer) -> AsyncIterator[httpx.AsyncClient]:
    await set_up(
        of_module.owner,
        upstream("network", f"{network.url}/?{UPSTREAM_QUERY}", timeout_ms=2000),
        campaign("fetched", upstreams=["network"]),
        own_campaign("own"),
        own_campaign("capped", frequency_caps=CAP),
        own_campaign("open", frequency_caps=CAP, without_user="serve"),
        own_campaign("abroad", targeting={"countries": ["US", "gbr"]}),
        placement("preroll", "capped"),
        placement("anybody", "open"),
    )
    async with (
        serving(of_module.app, WORKERS="1", ALLOWED_NETWORKS="127.0.0.0/8") as server,
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client


BATCHES = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}


async def reason(player: httpx.AsyncClient, **parameters: str) -> str | None:
    """Why there was no ad; None if there was one."""
    answered = await player.get("/vast", params=parameters)
    assert answered.status_code == 200, answered.text
    return answered.headers.get("x-no-fill-reason")


@pytest.mark.parametrize("name", ["user_id", "device_id"])
@pytest.mark.parametrize("value", SHARED)
async def test_viewers_who_share_an_id_are_nobody_and_never_capped_together(
    player: httpx.AsyncClient, of_module: Databases, name: str, value: str
) -> None:
    nobody = "consent" if value in WITHHELD else "no_user"
    assert [await reason(player, campaign_id="capped", **{name: value}) for _ in range(2)] == [nobody] * 2
    assert [await reason(player, placement_id="anybody", **{name: value}) for _ in range(3)] == [None] * 3
    async with connected(of_module.owner) as connection:
        assert await connection.fetchval("SELECT count(*) FROM frequency_caps WHERE campaign_id = 'open'") == 0


@pytest.mark.parametrize("raw", ["%%ADVERTISING_IDENTIFIER_PLAIN%%", "%%DEVICE_ID%%", "[UUID]", "%255BUUID%255D"])
async def test_a_macro_that_was_not_encoded_or_twice_is_one_too(player: httpx.AsyncClient, raw: str) -> None:
    answered = await player.get(f"/vast?campaign_id=capped&user_id={raw}")
    assert (answered.status_code, answered.headers["x-no-fill-reason"]) == (200, "no_user")


@pytest.mark.parametrize("value", SHARED)
async def test_a_request_id_that_many_share_is_not_the_same_request_again(
    player: httpx.AsyncClient, value: str
) -> None:
    parameters = {"campaign_id": "own", "request_id": value}
    first, again = await player.get("/vast", params=parameters), await player.get("/vast", params=parameters)
    assert {first.status_code, again.status_code} == {200}
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert first.content != again.content


@pytest.mark.parametrize("value", ["a b", "ä", "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}", "x" * 300])
async def test_an_odd_request_id_still_finds_its_answer(player: httpx.AsyncClient, value: str) -> None:
    parameters = {"campaign_id": "own", "request_id": value}
    first, again = await player.get("/vast", params=parameters), await player.get("/vast", params=parameters)
    assert (first.status_code, again.content) == (200, first.content)
    assert first.headers["x-request-id"] == again.headers["x-request-id"]


async def told(network: UpstreamServer) -> tuple[dict[str, str], dict[str, str]]:
    """The query and the headers of the upstream's last request."""
    request = network.requests[-1]
    query = {name: values[0] for name, values in parse_qs(request.target.partition("?")[2]).items()}
    return query, {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("value", SHARED)
async def test_no_upstream_gets_a_shared_id(player: httpx.AsyncClient, network: UpstreamServer, value: str) -> None:
    shared = dict.fromkeys(("user_id", "device_id", "ifa", "session_id", "request_id"), value)
    assert await reason(player, campaign_id="fetched", **shared) is None
    query, headers = await told(network)
    unknown = "-2" if value in WITHHELD else "-1"
    assert [query[key] for key in "udis"] == ["-1"] * 4
    assert query["ip"] == ("-2" if value in WITHHELD else "127.0.0.1")
    assert query["r"] not in (value, "-1", unknown)
    assert value not in headers.values() or value in (" ", "0")


async def test_who_opts_out_by_their_browser_is_not_identified_and_upstreams_hear_of_it(
    player: httpx.AsyncClient, network: UpstreamServer
) -> None:
    opted_out = BATCHES | {"Sec-GPC": "1"}
    parameters = {"campaign_id": "capped", "user_id": "gpc"}
    refused = await player.get("/vast", params=parameters, headers=opted_out)
    assert refused.headers["x-no-fill-reason"] == "consent"
    for header in ({}, {"Sec-GPC": "0"}):
        assert (
            "x-no-fill-reason"
            not in (await player.get("/vast", params=parameters | {"user_id": f"gpc{header}"})).headers
        )

    shown = {"campaign_id": "fetched", "user_id": "alice", "device_id": "d", "ifa": "i", "ip": "203.0.113.9"}
    await player.get("/vast", params=shown, headers=opted_out)
    query, headers = await told(network)
    assert query | {"r": ""} == {"u": "-2", "d": "-2", "i": "-2", "s": "-1", "ip": "-2", "gpc": "1", "r": ""}
    assert "x-device-ip" not in headers
    assert headers["sec-gpc"] == "1"
    await player.get("/vast", params=shown)
    query, headers = await told(network)
    assert (query["u"], query["ip"], query["gpc"]) == ("alice", "203.0.113.9", "-1")
    assert "sec-gpc" not in headers


async def test_the_opt_out_holds_for_vmap_batches_and_sessions_too(
    player: httpx.AsyncClient, of_module: Databases, network: UpstreamServer
) -> None:
    opted_out = BATCHES | {"Sec-GPC": "1"}
    batch = {"requests": [{"campaign_id": "fetched", "user_id": "alice"}]}
    await player.post("/v1/ads", json=batch, headers=opted_out)
    assert (await told(network))[0]["u"] == "-2"
    made = await player.post("/v1/sessions", json={"user_id": "alice", "publisher_id": "p"}, headers=opted_out)
    assert (made.status_code, made.json()["publisher_id"]) == (201, "p")
    async with connected(of_module.owner) as connection:
        assert await connection.fetchval("SELECT user_key FROM sessions WHERE id = $1", made.json()["id"]) is None


@pytest.mark.parametrize("value", [*SHARED, None])
async def test_a_session_of_nobody_has_no_viewer(
    player: httpx.AsyncClient, of_module: Databases, value: str | None
) -> None:
    made = await player.post("/v1/sessions", json={"user_id": value, "device_id": value})
    assert made.status_code == 201
    async with connected(of_module.owner) as connection:
        assert await connection.fetchval("SELECT user_key FROM sessions WHERE id = $1", made.json()["id"]) is None


async def test_in_a_batch_shared_ids_are_nobodys_too(player: httpx.AsyncClient) -> None:
    requests = [{"campaign_id": "capped", "user_id": value, "request_id": value} for value in SHARED if value.strip()]
    answered = await player.post("/v1/ads", json=requests, headers=BATCHES)
    lines = [orjson.loads(line) for line in answered.text.splitlines()]
    assert {line["status"] for line in lines} == {200}
    assert {line["no_fill_reason"] for line in lines} == {"no_user", "consent"}
    assert len({line["request_id"] for line in lines}) == len(requests)
    assert not {line["request_id"] for line in lines} & set(SHARED)


async def test_a_macro_that_nobody_replaced_shows_in_the_metrics(player: httpx.AsyncClient) -> None:
    await player.get("/vast", params={"campaign_id": "own", "user_id": "[UUID]", "gdpr": "maybe"})
    metrics = (await player.get("/metrics")).text
    for name in ("user_id", "gdpr"):
        assert re.search(rf'adserver_parameters_ignored_total\{{parameter="{name}"\}} [1-9]', metrics)


async def test_a_cookie_that_names_nobody_stands_in_for_nothing(player: httpx.AsyncClient) -> None:
    answered = await player.get("/vast?campaign_id=capped", headers={"Cookie": f"uid={ZERO}; device_id=undefined"})
    assert answered.headers["x-no-fill-reason"] == "no_user"
    query = "/vast?campaign_id=capped&user_id=%5BUUID%5D"
    answers = [await player.get(query, headers={"Cookie": "uid=behind-a-macro"}) for _ in range(2)]
    assert [answer.headers.get("x-no-fill-reason") for answer in answers] == [None, "frequency_cap"]


@pytest.mark.parametrize(
    "odd",
    [
        *("gdpr=-1", "lmt=-1", "ip=-2", "country=-1", "max_duration_s=-1", "session_id=-1", "lmt=true", "lmt=false"),
        *("ip=203.0.113.9,%20198.51.100.7", "ip=203.0.113.9:443", "ip=unknown", "gdpr=&gdpr_consent=&us_privacy="),
        *("min_duration_s=0", "pod_duration_s=30.0", "max_duration_s=60000", "pod_size=0", "pod_size=99", "pod_size=x"),
        *("vast_version=4", "vast_version=5.0", "vast_version=latest", "unwrap=yes", "coppa=no", "session_id=s"),
        *(f"user_id={'x' * 129}", f"page_url={'x' * 4097}", "user_id=a%00b", "user_id=%FF", "device_id=%C2%9F"),
        *("user_id=a&user_id=b", "lmt=0&lmt=2", "ip=1.2.3", "country=D1", "user_id=a%E2%80%AEb", "request_id=a%20b"),
        *("sdkv=h.3.451.0&osd=2&is_amp=0&hl=en&ctv=0&sdk_apis=2%2C8&sid=F7&eid=42%2C44&dlt=1&idt=2&dt=3",),
    ],
)
@pytest.mark.parametrize("path", ["/vast?campaign_id=own", "/vmap?placement_id=anybody"])
async def test_an_odd_optional_parameter_never_costs_the_ad(player: httpx.AsyncClient, path: str, odd: str) -> None:
    answered = await player.get(f"{path}&{odd}")
    assert answered.status_code == 200
    assert "<Ad" in answered.text or path.startswith("/vmap")


@pytest.mark.parametrize("country", ["US", "usa", "USA", "GB", "GBR", "UK", "gbr"])
async def test_a_country_is_the_same_by_its_codes_of_two_and_three_letters(
    player: httpx.AsyncClient, country: str
) -> None:
    assert await reason(player, campaign_id="abroad", country=country) is None


@pytest.mark.parametrize("country", ["CAN", "DE", "-1", "Mars"])
async def test_another_country_is_another(player: httpx.AsyncClient, country: str) -> None:
    assert await reason(player, campaign_id="abroad", country=country) == "targeting"


@pytest.mark.invalid_input  # an Ad has the impressions of both servers, which are one here
async def test_this_server_is_an_upstream_of_its_own_kind(player: httpx.AsyncClient, of_module: Databases) -> None:
    names = "gdpr gdpr_consent gpp gpp_sid us_privacy gpc coppa lmt country device_type content_genre min_duration_s"
    names += " max_duration_s pod_duration_s session_id user_id device_id ifa ip vast_version unwrap"
    every = "&".join(f"{name}={{{name}}}" for name in names.split())
    tag_url = f"{player.base_url}/vast?campaign_id=own&{every}"
    await set_up(of_module.owner, upstream("itself", tag_url, timeout_ms=2000), campaign("chain", upstreams=["itself"]))
    assert await reason(player, campaign_id="chain") is None
    assert await reason(player, campaign_id="chain", user_id="u", lmt="true", country="USA", gpp_sid="-1") is None
    answers = await asyncio.gather(*(reason(player, campaign_id="chain", gdpr="-1") for _ in range(6)))
    assert answers == [None] * 6
    assert await disagreements(of_module.owner) == []


async def test_a_country_that_was_set_up_as_three_letters_before_is_still_met(
    player: httpx.AsyncClient, of_module: Databases
) -> None:
    async with connected(of_module.owner) as connection:
        await connection.execute("""UPDATE campaigns SET targeting = '{"countries": ["fra"]}' WHERE id = 'abroad'""")
    await set_up(of_module.owner, own_campaign("another"))  # the catalog is read again with a new revision
    assert await reason(player, campaign_id="another") is None
    async with command_store(of_module.owner) as store, store.connection() as connection:
        rows = await catalog_reader.load(connection)
    assert rows.campaigns["abroad"].targeting.include.countries == ("fr",)
