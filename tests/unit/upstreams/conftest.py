"""A real upstream that misbehaves on cue, and a client for it."""

from collections.abc import AsyncIterator

import pytest

from app.upstreams.client import UpstreamClient
from tests.faults.upstream_server import UpstreamServer


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient()
    yield client
    await client.aclose()
