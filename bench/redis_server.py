"""A minimal ad server on Redis: the same caps, budgets and ledger, one Lua script for each request.

Every write is synced before its answer (`appendonly yes`, `appendfsync always`), as Postgres' commits are.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.bare import answer
from bench.processes import stop

CONNECTIONS_MAX = 256
POLL_S, READY_TRIES = 0.05, 200

PRICE = 2500
"""Micros of the currency: what an ad of the bench's campaigns costs."""
LIMITS = (1_000_000_000_000, 100_000_000_000_000)
"""Micros a day, and for the campaign's lifetime."""
CAPS = (100_000, 500_000)
"""Ads for one viewer a day and a week."""
DAY_S, WEEK_S = 86_400, 604_800

SERVE = """
local day_cap, week_cap, day_spent, lifetime_spent = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local price = tonumber(ARGV[1])
if tonumber(redis.call('GET', day_cap) or 0) >= tonumber(ARGV[2]) then return 'frequency_cap' end
if tonumber(redis.call('GET', week_cap) or 0) >= tonumber(ARGV[3]) then return 'frequency_cap' end
if tonumber(redis.call('GET', day_spent) or 0) + price > tonumber(ARGV[4]) then return 'budget' end
if tonumber(redis.call('GET', lifetime_spent) or 0) + price > tonumber(ARGV[5]) then return 'budget' end
if redis.call('INCR', day_cap) == 1 then redis.call('EXPIRE', day_cap, ARGV[6]) end
if redis.call('INCR', week_cap) == 1 then redis.call('EXPIRE', week_cap, ARGV[7]) end
redis.call('INCRBY', day_spent, price)
redis.call('INCRBY', lifetime_spent, price)
redis.call('XADD', 'serves', '*', 'campaign', ARGV[8], 'user', ARGV[9], 'price', price)
redis.call('XADD', 'ledger', '*', 'campaign', ARGV[8], 'amount', price)
return 'paid'
"""
"""Checks both caps and both budgets, counts, charges, and writes the serve and its ledger entry."""


def create_app() -> Starlette:
    """The ASGI application of one worker."""
    redis = Redis.from_url(os.environ["BENCH_REDIS_URL"], max_connections=CONNECTIONS_MAX, decode_responses=True)
    serve = redis.register_script(SERVE)

    async def vast(request: Request) -> Response:
        campaign, user = request.query_params["campaign_id"], request.query_params["user_id"]
        now = datetime.now(UTC)
        day, week = f"{now:%Y%m%d}", f"{now:%G%V}"
        keys = [f"cap:{user}:{campaign}:{day}", f"cap:{user}:{campaign}:{week}", f"spent:{campaign}:{day}"]
        amounts = [PRICE, *CAPS, *LIMITS, DAY_S, WEEK_S]
        verdict = await serve([*keys, f"spent:{campaign}"], [*amounts, campaign, user])
        response = answer()
        if verdict != "paid":
            response = Response("<VAST/>", media_type="application/xml", headers={"X-No-Fill-Reason": str(verdict)})
        return response

    return Starlette(routes=[Route("/vast", vast)])


def is_installed() -> bool:
    """Whether there is a redis-server on this machine."""
    return shutil.which("redis-server") is not None


@asynccontextmanager
async def redis_running() -> AsyncIterator[str]:
    """The URL of a Redis of its own, on an empty folder."""
    with tempfile.TemporaryDirectory(prefix="adserver-bench-redis-", dir="/var/tmp") as folder:
        socket = Path(folder) / "redis.sock"
        options = {"port": "0", "unixsocket": str(socket), "dir": folder, "save": "", "appendonly": "yes"}
        options["appendfsync"] = "always"
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = await asyncio.create_subprocess_exec(
            "redis-server", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            url = f"unix://{socket}"
            async with Redis.from_url(url, retry=Retry(ConstantBackoff(POLL_S), READY_TRIES)) as redis:
                await redis.ping()
            yield url
        finally:
            await stop(process)


async def ledger_entries(url: str) -> int:
    """How many ads were paid for so far."""
    async with Redis.from_url(url) as redis:
        return int(await redis.xlen("ledger"))
