"""What the bare HTTP client gets from an upstream: `in_flight` loops that GET and read. A process of its own.

    python -m bench.fetchers URL IN_FLIGHT WARM_S MEASURED_S

Prints how many documents a second it fetched in the time that was measured. The client is httpx over aiohttp with
the transport's defaults, which the server's own client is built on.
"""

import asyncio
import sys
import time

import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport


async def fetch(url: str, in_flight: int, warm_s: float, measured_s: float) -> float:
    """Documents a second."""
    fetched: list[float] = []

    async def loop_until(end: float) -> None:
        while time.perf_counter() < end:
            response = await client.get(url)
            if response.status_code == httpx.codes.OK and response.content:
                fetched.append(time.perf_counter())

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(transport=AiohttpTransport(limits=limits), trust_env=False) as client:
        start = time.perf_counter() + warm_s
        await asyncio.gather(*(loop_until(start + measured_s) for _ in range(in_flight)))
    return sum(start <= at < start + measured_s for at in fetched) / measured_s


if __name__ == "__main__":
    print(uvloop.run(fetch(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))))
