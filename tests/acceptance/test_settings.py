"""Each setting does what it says: servers whose settings are unlike the defaults, and what is different there.

Those of launching (host, port, data_dir, database_url, ...) are tried in tests/integration/launch.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.domain import Event
from app.serving.tokens import TokenSigner
from app.settings import Settings
from tests.acceptance.conftest import Databases
from tests.campaigns import campaign, own_campaign, set_up, upstream
from tests.faults.upstream_server import Gate, UpstreamServer, answer, inline
from tests.integration.accounting.world import set_clock
from tests.invariants.world import somebody_waits
from tests.launched import Launched
from tests.players import AUTHORIZED, Players, becomes, connected, connections, serving
from tests.unit.vast.conftest import texts

SECRET, RETIRED, FORGOTTEN = "the newest secret", "the one before", "one before that"
PUBLIC_URL = "https://ads.example"
BEACON_TTL_S = 60
MONEY = {"cpm": "1000", "budgets": {"lifetime": "100"}}

SMALL = {
    "WORKERS": "1",
    "SERVE_CONNECTIONS": "1",
    "FETCH_CONNECTIONS": "3",
    "BEACON_CONNECTIONS": "1",
    "POOL_CONNECTIONS": "4",
    "GROUP_MAX": "2",
    "QUEUE_MAX": "4",
    "BEACON_GROUP_MAX": "2",
    "BEACON_QUEUE_MAX": "3",
    "MAX_BODY_BYTES": "2048",
    "BATCH_MAX": "2",
    "REQUEST_DEADLINE_MS": "20000",
    "LOCK_TIMEOUT_MS": "20000",
    "STATEMENT_TIMEOUT_MS": "20000",
    "SECRET_KEY": SECRET,
    "RETIRED_SECRET_KEYS": f"{RETIRED}, another",
    "BEACON_TTL_S": str(BEACON_TTL_S),
    "PUBLIC_URL": f"{PUBLIC_URL}/",
}

PATIENT = {
    "WORKERS": "1",
    "REQUEST_DEADLINE_MS": "20000",
    "UPSTREAM_DEADLINE_MS": "18000",
    "GROUP_FETCH_WAIT_MS": "5000",
    "LOCK_TIMEOUT_MS": "20000",
    "STATEMENT_TIMEOUT_MS": "20000",
    "IDLE_IN_TRANSACTION_TIMEOUT_MS": "20000",
    "TRUSTED_PROXIES": "192.0.2.0/24, 127.0.0.1/32",
    "RETENTION_DAYS": "35",
    "LOG_LEVEL": "warning",
}

ELSEWHERE = {
    **dict.fromkeys(("database_url", "data_dir", "host", "port"), "tests/integration/launch"),
    "admin_token": "tests/integration/setup/test_admin_api.py",
    "webhook_private_networks": "tests/acceptance/test_webhooks.py",
    "budget_days": "tests/integration/accounting/test_budget_archive.py",
    **dict.fromkeys(("admin_host", "admin_port"), "tests/acceptance/test_ports.py"),
    **dict.fromkeys(
        ("client_requests_per_s", "unlimited_networks", "stitcher_token"), "tests/acceptance/test_client_limits.py"
    ),
    "sessions_max": "tests/acceptance/test_viewing_sessions.py",
    "serving_database": "tests/integration",
    "allowed_networks": "tests/acceptance/test_vast.py",
    "geoip_file": "tests/acceptance/test_targeting.py",
}
"""Settings that are tried in other places."""

LONGER_THAN_DEFAULTS_S = 3.4
"""Than a lock (0.5 s), a request (1.5), a statement (2) and a transaction that is idle (3) may take by default."""


@dataclass(frozen=True)
class Small:
    """A server that has little of everything."""

    server: Launched
    player: httpx.AsyncClient
    database: str
    metrics_dir: Path

    async def metric(self, name: str, label: str) -> float:
        """What all workers' metrics say, up to a second late."""
        families = text_string_to_metric_families((await self.player.get("/metrics")).text)
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in found if label in sample.labels.values())

    async def serve(self, campaign_id: str) -> tuple[UUID, str]:
        """An ad's request and the token of its impression."""
        response = await self.player.get("/vast", params={"campaign_id": campaign_id})
        (url,) = texts(response.content, "Impression")
        return UUID(response.headers["x-request-id"]), httpx.URL(url).params["t"]

    async def send(self, token: str, event: Event = Event.IMPRESSION) -> None:
        assert (await self.player.get(f"/event/{event}", params={"t": token})).status_code == 200


@pytest.fixture(scope="module")
async def small(of_module: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    metrics_dir = tmp_path_factory.mktemp("metrics")
    await set_up(of_module.owner, own_campaign("own", **MONEY), own_campaign("seen", billing="impression", **MONEY))
    async with (
        serving(of_module.app, **SMALL, METRICS_DIR=str(metrics_dir)) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as player,
    ):
        yield Small(server, player, of_module.owner, metrics_dir)


@asynccontextmanager
async def budgets_held(database: str) -> AsyncIterator[None]:
    """Somebody has all budgets locked while the block lasts."""
    async with connected(database) as holder, holder.transaction():
        await holder.execute("SELECT FROM budget_tracking FOR UPDATE")
        yield


def test_every_setting_is_tried() -> None:
    tried = {name.lower() for name in (*SMALL, *PATIENT, "METRICS_DIR")}
    assert tried | set(ELSEWHERE) == set(Settings.model_fields)


async def test_there_are_as_many_workers_and_connections_as_there_may_be(small: Small) -> None:
    pools = [await small.metric("adserver_pool_connections", pool) for pool in ("serve", "fetch", "other")]
    assert pools == [1, 3, 4]
    assert await connections(small.database) == 1 + 3 + 1
    assert len(small.server.workers()) == 1


async def test_groups_and_their_queue_grow_no_larger_than_they_may(small: Small) -> None:
    await small.serve("own")
    before = await small.metric("adserver_group_size_count", "serve")
    async with Players(small.server.url) as players, asyncio.TaskGroup() as asking, budgets_held(small.database):
        first = asking.create_task(players.ask(campaign_id="own"))
        await somebody_waits(small.database)
        others = [asking.create_task(players.ask(campaign_id="own")) for _ in range(10)]
        ended = asyncio.as_completed(others)
        assert {(await next(ended)).reason for _ in range(6)} == {"busy"}
    assert first.result().filled
    assert sum(other.result().filled for other in others) == 4

    async def are_counted() -> bool:
        return await small.metric("adserver_group_size_count", "serve") - before >= 3

    await becomes(are_counted)  # 1 + 2 + 2


async def test_groups_of_beacons_and_their_queue_grow_no_larger_than_they_may(small: Small) -> None:
    tokens = [(await small.serve("seen"))[1] for _ in range(10)]
    async with asyncio.TaskGroup() as sending, budgets_held(small.database):
        sending.create_task(small.send(tokens[0]))
        await somebody_waits(small.database)
        for token in tokens[1:]:
            sending.create_task(small.send(token))

        async def six_are_dropped() -> bool:
            return await small.metric("adserver_beacons_total", "dropped") == 6

        await becomes(six_are_dropped)
    async with connected(small.database) as connection:
        groups = await connection.fetch(
            "SELECT count(*) AS size FROM ad_events WHERE campaign_id = 'seen' GROUP BY xmin::text ORDER BY 1"
        )
    assert [group["size"] for group in groups] == [1, 1, 2]


async def test_tokens_of_retired_secrets_count_and_last_as_long_as_they_may(small: Small) -> None:
    now = datetime.now(UTC)
    request_key, token = await small.serve("own")
    reference = TokenSigner([SECRET], 1).verify(token, Event.IMPRESSION, now)
    assert reference
    assert abs(reference.expires_at - now - timedelta(seconds=BEACON_TTL_S)) < timedelta(seconds=30)
    for secret, event in ((RETIRED, Event.START), (FORGOTTEN, Event.COMPLETE)):
        await small.send(TokenSigner([secret], 3600).sign_all(request_key, 0, now, "own")[event], event)
    async with connected(small.database) as connection:
        counted = await connection.fetch("SELECT event FROM ad_events WHERE request_key = $1", request_key)
    assert [row["event"] for row in counted] == [Event.START]


async def test_beacons_go_where_players_find_the_server(small: Small) -> None:
    response = await small.player.get("/vast", params={"campaign_id": "own"})
    assert texts(response.content, "Impression")[0].startswith(f"{PUBLIC_URL}/event/impression?t=")


async def test_bodies_and_batches_are_no_larger_than_they_may_be(small: Small) -> None:
    one = {"campaign_id": "own"}
    answers = [
        await small.player.post("/v1/ads", json=asked, headers=AUTHORIZED)
        for asked in ([one] * 2, [one] * 3, [{**one, "ua": "x" * 2048}])
    ]
    assert [answered.status_code for answered in answers] == [200, 400, 400]
    assert "must have between 1 and 2 items" in answers[1].text
    assert "must not be longer than 2048 bytes" in answers[2].text


async def test_metrics_are_kept_where_they_may(small: Small) -> None:
    assert list(small.metrics_dir.glob("*.db"))


async def partitions(database: str) -> set[str]:
    async with connected(database) as connection:
        rows = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'ad_serves'::regclass"
        )
    return {row["name"] for row in rows}


async def test_a_patient_server_waits_believes_its_proxy_forgets_and_does_not_chatter(
    database: str, app_database: str
) -> None:
    gate = Gate(answer(inline()))
    async with UpstreamServer(gate) as network:
        await set_up(
            database,
            upstream("network", network.url, timeout_ms=18_000),
            own_campaign("held", **MONEY),
            campaign("theirs", upstreams=["network"]),
        )
        of_old = await partitions(database)
        await set_clock(database, "transaction_timestamp() + interval '60 days'")

        async def old_ones_are_gone() -> bool:
            return not of_old <= await partitions(database)

        async with (
            serving(app_database, **PATIENT) as server,
            httpx.AsyncClient(base_url=server.url, headers={"X-Device-IP": "198.51.100.7"}, timeout=30) as player,
        ):
            assert "x-no-fill-reason" not in (await player.get("/vast", params={"campaign_id": "held"})).headers
            async with asyncio.TaskGroup() as asking:
                theirs = asking.create_task(player.get("/vast", params={"campaign_id": "theirs"}))
                await network.asked(1)
                async with budgets_held(database):
                    held = asking.create_task(player.get("/vast", params={"campaign_id": "held"}))
                    await asyncio.sleep(LONGER_THAN_DEFAULTS_S)
                gate.opened.set()
            await becomes(old_ones_are_gone)
    assert ["x-no-fill-reason" in answered.result().headers for answered in (theirs, held)] == [False, False]
    assert [request.headers["x-device-ip"] for request in network.requests] == ["198.51.100.7"]
    events = {json.loads(line)["event"] for line in server.output if line.startswith("{")}
    assert events.isdisjoint({"request", "serving_connection_lost", "row_lock_timeout"})
