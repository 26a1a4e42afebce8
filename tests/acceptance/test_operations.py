"""Operational data of a running server with two workers."""

import json
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.campaigns import campaign, own_campaign, placement, publisher, set_up, upstream
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.launched import Launched, eventually
from tests.standby import set_standby

SECRETS = {"SECRET_KEY": "a-secret-for-tests", "ADMIN_TOKEN": "a-token-for-tests"}


@pytest.fixture
async def primary() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture
async def campaigns(database: str, primary: UpstreamServer) -> None:
    await set_up(
        database,
        publisher("publisher1"),
        upstream("primary", primary.url + "/?uid={user_id}", breaker_failures=3),
        own_campaign("own", frequency_caps=[{"impressions": 3, "per": "day"}]),
        campaign("network", upstreams=["primary"]),
        placement("preroll", "own"),
    )


@pytest.fixture
def server(app_database: str, campaigns: None) -> Iterator[Launched]:
    with Launched("serve", DATABASE_URL=app_database, WORKERS="2", **SECRETS) as launched:
        launched.wait_for("Serving on")
        yield launched


async def ask(server: Launched, times: int, **parameters: str) -> list[str]:
    """So many answers, each over a connection of its own, so that every worker gets some: their no-fill reasons."""
    reasons = []
    for _ in range(times):
        async with httpx.AsyncClient(base_url=server.url, timeout=10) as player:
            answered = await player.get("/vast", params=parameters)
            reasons.append(answered.headers.get("x-no-fill-reason", ""))
    return reasons


async def read(server: Launched, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as operator:
        return await operator.get(path)


def request_lines(server: Launched) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.output if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


async def test_stats_and_metrics_are_those_of_all_workers(server: Launched) -> None:
    reasons = await ask(server, 40, campaign_id="own", user_id="alice")
    assert reasons.count("") == 3
    assert (await read(server, "/vast?campaign_id=unknown")).status_code == 400
    assert eventually(lambda: server.get("/v1/stats").json()["total"] == 41)
    for _ in range(10):
        stats = (await read(server, "/v1/stats")).json()
        assert {name: stats[name] for name in ("total", "success", "failed", "capped")} == {
            "total": 41,
            "success": 3,
            "failed": 1,
            "capped": 37,
        }
        assert stats["success_rate"] == pytest.approx(3 / 41)
        assert 0 < stats["avg_latency"] < 1000
    exposition = await read(server, "/metrics")
    assert exposition.headers["content-type"].startswith("text/plain; version=")
    samples = [s for family in text_string_to_metric_families(exposition.text) for s in family.samples]
    requests = [s for s in samples if s.name == "adserver_requests_total"]
    assert {(s.labels["outcome"], s.labels["reason"]): s.value for s in requests} == {
        ("served", ""): 3,
        ("no_fill", "frequency_cap"): 37,
        ("error", "400"): 1,
    }


async def test_each_request_is_one_line_that_says_nothing_of_who_watches(server: Launched) -> None:
    await ask(server, 2, campaign_id="network", user_id="alice@example.com", device_id="set-top", ip="203.0.113.9")
    await ask(server, 1, campaign_id="own", user_id="alice@example.com", request_id="r-1")
    await ask(server, 1, campaign_id="unknown", user_id="alice@example.com", ip="203.0.113.9")
    assert eventually(lambda: len(request_lines(server)) == 4)
    assert server.stop() == 0
    lines = request_lines(server)
    assert len(lines) == 4
    assert sorted(str(line["outcome"]) for line in lines) == ["error", "served", "served", "served"]
    assert "r-1" in {line["request_id"] for line in lines}
    assert all(line["duration_ms"] for line in lines)
    printed = "".join(server.output)
    for secret in ("alice", "set-top", "203.0.113.9", *SECRETS.values()):
        assert secret not in printed


async def test_ready_means_a_schema_that_this_code_knows(server: Launched, database: str) -> None:
    assert (await read(server, "/healthz")).status_code == 200
    ready = await read(server, "/readyz")
    assert (ready.status_code, ready.json()["database"]) == (200, "ok")
    assert ready.json()["schema"] == ready.json()["schema_needed"]
    connection = await asyncpg.connect(database)
    for version, status, word in (("0001", 503, "needs a migration"), ("later", 200, "ok")):
        await connection.execute("UPDATE alembic_version SET version_num = $1", version)
        look = await read(server, "/readyz")
        assert (look.status_code, look.json()["database"], look.json()["schema"]) == (status, word, version)
    await connection.execute("DELETE FROM alembic_version")
    assert (await read(server, "/readyz")).json()["database"] == "has no schema"
    await connection.close()


async def test_a_server_whose_database_is_a_standby_is_not_ready_until_that_is_promoted(
    database: str, app_database: str
) -> None:
    await set_standby(database, standby=True)
    with Launched("serve", DATABASE_URL=app_database, **SECRETS) as server:
        server.wait_for("Serving on")
        look = await read(server, "/readyz")
        assert (look.status_code, look.json()["database"]) == (503, "is read-only")
        await set_standby(database, standby=False)
        assert eventually(lambda: server.get("/readyz").status_code == 200)


async def test_an_upstream_that_fails_is_seen_everywhere(server: Launched, primary: UpstreamServer) -> None:
    primary.behavior = answer(b"", "500 Internal Server Error")
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as player:
        for _ in range(5):
            answered = await player.get("/vast", params={"campaign_id": "network"})
            assert answered.headers["x-no-fill-reason"] == "upstream"
        assert (await player.get("/readyz")).json()["breakers"] == {"primary": "open"}
        (status,) = (await player.get("/v1/upstreams/status")).json()["upstreams"]
    assert (status["id"], status["state"], status["max_qps"], status["quota_used"]) == ("primary", "open", None, None)
    assert status["last_minutes"]["requests"] == 3
    assert (status["last_minutes"]["error_rate"], status["last_minutes"]["fill_rate"]) == (1, 0)
    assert status["last_minutes"]["p95_ms"] > 0
    assert (status["last_refusal"]["kind"], status["last_refusal"]["detail"]) == ("status", "500")
    line = json.loads(server.wait_for("breaker_changed"))
    assert (line["upstream_id"], line["old"], line["new"], line["level"]) == ("primary", "closed", "open", "warning")
    assert server.stop() == 0
    assert "".join(server.output).count("breaker_changed") == 1


async def test_a_fill_rate_is_that_of_the_answers(server: Launched, primary: UpstreamServer) -> None:
    await ask(server, 3, campaign_id="network")
    primary.behavior = answer(b"", "204 No Content")
    await ask(server, 1, campaign_id="network")
    primary.behavior = answer(inline())
    assert eventually(lambda: _primary(server)["requests"] == 4)
    assert (_primary(server)["error_rate"], _primary(server)["fill_rate"]) == (0, 0.75)


def _primary(server: Launched) -> dict[str, float]:
    (status,) = server.get("/v1/upstreams/status").json()["upstreams"]
    return status["last_minutes"]


async def test_why_an_upstream_was_refused_can_be_asked_of_every_worker(
    server: Launched, primary: UpstreamServer
) -> None:
    primary.behavior = answer(b"<VAST>\n<Ad id='alice'></VAST>")
    assert await ask(server, 1, campaign_id="network", user_id="alice") == ["upstream"]

    def known(_: int) -> bool:
        (status,) = server.get("/v1/upstreams/status").json()["upstreams"]
        return status["last_refusal"] is not None

    assert eventually(lambda: all(map(known, range(10))))
    (status,) = (await read(server, "/v1/upstreams/status")).json()["upstreams"]
    refusal = status["last_refusal"]
    reason = "not well-formed: tag name mismatch at line 2, column 23"
    assert (refusal["kind"], refusal["detail"]) == ("malformed", reason)
    line = json.loads(server.wait_for("upstream_refused"))
    assert (line["upstream_id"], line["kind"], line["detail"]) == ("primary", "malformed", reason)
    assert "alice" not in str(refusal)
