"""Players that ask at a steady rate, and what each of them got."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median

import aiohttp

from bench.upstreams.misbehaving import FALLBACK, PRIMARY

PATIENCE_S = 10
TITLES = {name: f"<AdTitle>{name}</AdTitle>".encode() for name in (PRIMARY, FALLBACK)}


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, `ms` after it was due; `has_ad_of` is the primary's, the fallback's or our own, None for no ad."""

    user_id: str
    ms: float
    has_ad_of: str | None


class Audience:
    """Open it with `audience`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._users = count(1)

    async def paced(self, campaign_id: str, per_s: float, seconds: float) -> list[Seen]:
        """So many requests a second, whatever becomes of the earlier ones, each of another viewer."""
        start = time.perf_counter()
        asking: list[asyncio.Task[Seen]] = []
        for number in range(int(per_s * seconds)):
            due = start + number / per_s
            await asyncio.sleep(due - time.perf_counter())
            asking.append(asyncio.create_task(self._ask(campaign_id, f"u{next(self._users)}", due)))
        return await asyncio.gather(*asking)

    async def _ask(self, campaign_id: str, user_id: str, due: float) -> Seen:
        parameters = {"campaign_id": campaign_id, "user_id": user_id}
        async with self._session.get("/vast", params=parameters) as response:
            body = await response.read()
            response.raise_for_status()
        ms = 1000 * (time.perf_counter() - due)
        if "X-No-Fill-Reason" in response.headers:
            return Seen(user_id, ms, None)
        return Seen(user_id, ms, next((name for name, title in TITLES.items() if title in body), "own"))


@asynccontextmanager
async def audience(url: str) -> AsyncIterator[Audience]:
    """An audience of the server at this URL, with as many connections as there are requests at once."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        yield Audience(session)


def p50_ms(seen: Sequence[Seen]) -> float:
    """The median of their latencies."""
    return median(each.ms for each in seen)


def p99_ms(seen: Sequence[Seen]) -> float:
    """The 99th percentile of their latencies."""
    return sorted(each.ms for each in seen)[len(seen) * 99 // 100]
