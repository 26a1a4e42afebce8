"""Metrics of this process alone, even if the environment enables multiprocess mode."""

import pytest

from app.observability.metrics import MULTIPROCESS_DIR, Metrics


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    monkeypatch.delenv(MULTIPROCESS_DIR, raising=False)
    return Metrics()
