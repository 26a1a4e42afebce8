"""Metrics of this process alone, whatever the environment says."""

import pytest

from app.observability.metrics import MULTIPROCESS_DIR, Metrics


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    monkeypatch.delenv(MULTIPROCESS_DIR, raising=False)
    return Metrics()
