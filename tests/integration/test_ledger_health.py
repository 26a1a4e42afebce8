import os

import asyncpg
import pytest

from app.observability.leader_lock import LeaderLock
from app.observability.ledger_health import LedgerHealthSampler
from app.observability.metrics import MULTIPROCESS_DIR, Metrics
from tests.integration.serves import add_campaigns, open_store, serve_ads


async def gauges(metrics: Metrics) -> dict[str, float]:
    lines = (await metrics.exposition()).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_the_gauges_of_the_ledger(database: str, app_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROCESS_DIR, raising=False)
    owner = open_store(database)
    await add_campaigns(owner, ["acme"])
    await serve_ads(owner, "acme", 2)
    await owner.close()
    metrics = Metrics()
    store = open_store(app_database)
    sampler = LedgerHealthSampler(store, metrics)
    await sampler.sample()
    samples = await gauges(metrics)
    assert samples['adserver_campaign_held{campaign_id="acme",currency="USD"}'] == 5
    assert samples['adserver_campaign_spent{campaign_id="acme",currency="USD"}'] == 0
    assert samples["adserver_books_disagreements"] == 0
    assert samples["adserver_partitions_ahead_days"] >= 1
    assert samples["adserver_misplaced_rows"] == 0
    assert samples["adserver_books_watched_timestamp_seconds"] > 1_700_000_000

    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE budget_tracking SET spent = spent + 1")
    await connection.close()
    await sampler.sample()
    assert (await gauges(metrics))["adserver_books_disagreements"] == 1
    await store.close()


def test_one_worker_at_a_time_holds_the_lock(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_DIR, os.fspath(tmp_path))
    first, second = LeaderLock("ledger-health"), LeaderLock("ledger-health")
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()
    assert LeaderLock("other").try_acquire()
    first.release()
    assert second.try_acquire()


def test_a_single_worker_always_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROCESS_DIR, raising=False)
    assert LeaderLock("ledger-health").try_acquire()
    assert LeaderLock("ledger-health").try_acquire()
