"""The commands apply, export and explain, while a server is running."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import tomli_w

from tests.campaigns import campaign, own_campaign, placement, set_up, upstream
from tests.launched import ADSERVER, Launched, adserver, environment

SECRET = "a-secret-for-tests"
NO_CONSENT = {"gdpr": "1"}

REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("plain", {"user_id": "u1"}),
    ("paused", {"user_id": "u1"}),
    ("over", {"user_id": "u1"}),
    ("early", {"user_id": "u1"}),
    ("poor", {"user_id": "u1"}),
    ("paced", {"user_id": "u1"}),
    ("capped", {"user_id": "u1"}),
    ("capped", {"user_id": "u2"}),
    ("capped", {"device_id": "u1"}),
    ("capped", {}),
    ("capped", {"user_id": "u1"} | NO_CONSENT),
    ("anyone", NO_CONSENT),
    ("by-session", {"user_id": "u1"}),
    ("german", {"country": "fr"}),
    ("german", {"country": "DE"}),
    ("german", {}),
    ("plain", {"max_duration_s": "10"}),
    ("network", {"user_id": "u1"}),
]
CAP = [{"impressions": 1, "per": "day"}]
CAMPAIGNS = (
    own_campaign("plain"),
    own_campaign("sold", direct=False),
    own_campaign("paused", status="paused"),
    own_campaign("over", starts_at="2020-01-01T00:00:00Z", ends_at="2021-01-01T00:00:00Z"),
    own_campaign("early", starts_at="2090-01-01T00:00:00Z"),
    own_campaign("poor", cpm="1000", budgets={"day": "0.5", "lifetime": "10"}),
    own_campaign("paced", cpm="1000", pacing="even", starts_at="2026-01-01T00:00:00Z", budgets={"lifetime": "0.9"}),
    own_campaign("capped", cpm="1000", budgets={"hour": "100"}, frequency_caps=CAP),
    own_campaign("anyone", without_user="serve", frequency_caps=CAP),
    own_campaign("by-session", frequency_caps=[{"impressions": 1, "per": "session"}]),
    own_campaign("german", targeting={"countries": ["DE"]}),
    upstream("primary", "http://ads.example/vast"),
    campaign("network", upstreams=["primary"], status="paused"),
    placement("preroll", "paused", "capped", "plain"),
)


@pytest.fixture
async def set_up_database(database: str) -> str:
    await set_up(database, *CAMPAIGNS)
    return database


@pytest.fixture
def server(app_database: str, set_up_database: str) -> Iterator[Launched]:
    with Launched("serve", DATABASE_URL=app_database, WORKERS="1", SECRET_KEY=SECRET) as launched:
        launched.wait_for("Serving on")
        yield launched


def explained(database: str, **parameters: str) -> str:
    result = adserver("explain", str(httpx.QueryParams(parameters)), DATABASE_URL=database, SECRET_KEY=SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_explain_says_what_the_server_does(server: Launched, set_up_database: str) -> None:
    assert not server.get("/vast", campaign_id="capped", user_id="u1").headers.get("x-no-fill-reason")
    for campaign_id, parameters in REQUESTS:
        result = explained(set_up_database, campaign_id=campaign_id, **parameters)
        answer = server.get("/vast", campaign_id=campaign_id, **parameters)
        reason = answer.headers.get("x-no-fill-reason")
        assert f"1. {campaign_id}: {f'no, {reason}' if reason else 'may serve'}\n" in result, (parameters, result)


def test_explain_shows_the_numbers_behind_every_candidate(server: Launched, set_up_database: str) -> None:
    server.get("/vast", campaign_id="capped", user_id="u1")
    result = explained(set_up_database, placement_id="preroll", user_id="u1", country="de")
    assert re.search(r"1\. paused: no, paused\n   status: paused, its flight runs until 2100-01-01T00:00:00Z\n", result)
    assert re.search(r"2\. capped: no, frequency_cap\n", result)
    assert re.search(r"   cap per day: 1 of 1 counted, until \d{4}-\d\d-\d\dT00:00:00Z\n", result)
    assert "   hour budget: 1.00 spent and 0.00 held of 100.00 USD; an ad costs 1.00\n" in result
    assert "3. plain: may serve\n" in result
    paced = explained(set_up_database, campaign_id="paced")
    assert re.search(r"0\.00 held of 0\.90 USD, of which 0\.\d\d may be spent by now; an ad costs 1\.00\n", paced)
    german = explained(set_up_database, campaign_id="german", country="fr")
    assert "   targeting: countries must be one of de; the request has fr\n" in german


def test_explain_counts_the_user_of_a_viewing_session(server: Launched, set_up_database: str) -> None:
    with httpx.Client(base_url=server.url) as player:
        session_id = player.post("/v1/sessions", json={"user_id": "u1"}).json()["id"]
    for campaign_id in ("capped", "by-session"):
        result = explained(set_up_database, campaign_id=campaign_id, session_id=session_id)
        assert f"1. {campaign_id}: may serve\n" in result
        server.get("/vast", campaign_id=campaign_id, session_id=session_id)
        result = explained(set_up_database, campaign_id=campaign_id, session_id=session_id)
        assert f"1. {campaign_id}: no, frequency_cap\n" in result


def test_explain_changes_nothing(set_up_database: str) -> None:
    before = adserver("export", DATABASE_URL=set_up_database).stdout
    for _ in range(2):
        assert "cap per day: 0 of 1 counted" in explained(set_up_database, campaign_id="capped", user_id="u1")
    assert adserver("export", DATABASE_URL=set_up_database).stdout == before


def test_explain_reads_a_request_as_the_server_does_and_names_ignored_parameters(set_up_database: str) -> None:
    parameters = "campaign_id=plain&user_id=%5BUUID%5D&session_id=1&country=USA&lmt=true"
    result = adserver("explain", parameters, DATABASE_URL=set_up_database, SECRET_KEY=SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0].endswith("for campaign_id country lmt")
    assert result.stdout.splitlines()[1] == "ignored (unreadable or a placeholder): user_id session_id"


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ("user_id=u1", "adserver: campaign_id: is required unless placement_id is given"),
        ("campaign_id=nowhere", "adserver: campaign_id: unknown campaign_id"),
        (
            "campaign_id=sold",
            "adserver: campaign_id: names a campaign without direct = true, which only placements sell",
        ),
        ("http://tv.example/vast?placement_id=nowhere", "adserver: placement_id: unknown placement_id"),
        ("campaign_id=plain&campaign_id=x", "adserver: campaign_id: must not be repeated with different values"),
    ],
)
def test_explain_refuses_what_the_server_refuses(set_up_database: str, parameters: str, line: str) -> None:
    result = adserver("explain", parameters, DATABASE_URL=set_up_database, SECRET_KEY=SECRET)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"{line}\n")


def test_apply_says_what_it_did_and_the_second_time_that_it_did_nothing(tmp_path: Path, database: str) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text("\n".join([own_campaign("spring"), placement("preroll", "spring")]))
    first = adserver("apply", str(file), DATABASE_URL=database)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "created  publisher publisher1",
        "created  advertiser Acme",
        "created  campaign spring",
        "created  creative spring-15s",
        "created  placement preroll",
        "5 created, 0 updated, 0 unchanged; the catalog is at revision 1",
    ]
    second = adserver("apply", str(file), DATABASE_URL=database)
    assert second.stdout == "0 created, 0 updated, 3 unchanged; the catalog is at revision 1\n"
    file.write_text(adserver("export", DATABASE_URL=database).stdout)
    third = adserver("apply", str(file), DATABASE_URL=database)
    assert third.stdout == "0 created, 0 updated, 5 unchanged; the catalog is at revision 1\n"


def test_what_makes_no_sense_in_a_campaign_is_a_line_each(tmp_path: Path, database: str) -> None:
    file = tmp_path / "campaigns.toml"
    sold = {
        "id": "sold",
        "advertiser": "Acme",
        "currency": "USD",
        "cpm": "1",
        "budgets": {"lifetime": {"impressions": 9}},
    }
    saturday = {"starts_at": datetime(2026, 2, 7, tzinfo=UTC), "ends_at": datetime(2026, 2, 8, tzinfo=UTC)}
    campaigns = [
        sold | {"id": "endless", "starts_at": saturday["starts_at"]},
        sold | saturday | {"id": "reverse", "ends_at": datetime(2026, 1, 1, tzinfo=UTC)},
        sold | saturday | {"id": "weekdays", "targeting": {"dayparts": [{"days": ["mon"]}]}},
        sold | saturday | {"id": "never", "weight": 0},
        sold | saturday | {"id": "misspelled", "wieght": 2},
    ]
    file.write_text(tomli_w.dumps({"campaigns": campaigns}))
    result = adserver("apply", str(file), DATABASE_URL=database)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"adserver: {file}: campaigns[0].ends_at: is required",
        f"adserver: {file}: campaigns[1].ends_at: must be after starts_at",
        f"adserver: {file}: campaigns[2].targeting: dayparts have no time between starts_at and ends_at",
        f"adserver: {file}: campaigns[3].weight: must be at least 1",
        f"adserver: {file}: campaigns[4].wieght: unknown key",
    ]


def test_apply_tells_every_fault_on_a_line_and_exits_with_two(tmp_path: Path, database: str) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text(own_campaign("spring", currency="XXX") + placement("preroll") + "\n[colors]\n")
    result = adserver("apply", str(file), DATABASE_URL=database)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"adserver: {file}: colors: unknown key",
        f"adserver: {file}: campaigns[0].currency: must be an ISO 4217 currency code such as USD, got 'XXX'",
        f"adserver: {file}: placements[0].campaigns: must not be empty",
    ]
    assert adserver("export", DATABASE_URL=database).stdout == ""


def test_letters_that_the_terminal_has_not_stop_nothing(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text(own_campaign("5€"))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    result = adserver("apply", str(file), DATABASE_URL=database)
    assert (result.returncode, result.stderr) == (0, "")
    assert "created  campaign 5\\u20ac\n" in result.stdout
    file.write_text(adserver("export", DATABASE_URL=database).stdout)
    assert 'id = "5€"' in file.read_text()
    again = adserver("apply", str(file), DATABASE_URL=database)
    assert again.stdout == "0 created, 0 updated, 3 unchanged; the catalog is at revision 1\n"


def test_a_full_disk_is_told_in_one_line(set_up_database: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [ADSERVER, "export"],
            env=environment(DATABASE_URL=set_up_database),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (1, "adserver: output: No space left on device\n")


def test_a_campaign_that_is_applied_serves_without_a_restart(server: Launched, tmp_path: Path, database: str) -> None:
    assert server.get("/vast", campaign_id="spring").status_code == 400
    file = tmp_path / "campaigns.toml"
    file.write_text(own_campaign("spring"))
    adserver("apply", str(file), DATABASE_URL=database)
    assert "<Ad " in server.get("/vast", campaign_id="spring").text
    file.write_text(own_campaign("spring", status="paused"))
    adserver("apply", str(file), DATABASE_URL=database)
    assert server.get("/vast", campaign_id="spring").headers["x-no-fill-reason"] == "paused"
