import asyncio
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

from app.campaign_file.parser import read_file
from bench.catalog import campaign_file
from bench.loads import Loaded, read_wrk
from bench.plot import Point, draw
from bench.processes import output_of
from tests.faults.upstream_server import Request, UpstreamServer, answer

WRK = """Running 2s test @ http://127.0.0.1:1
  1 threads and 256 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    25.97ms    5.01ms  61.44ms   79.21%
    Req/Sec     9.92k     1.04k   11.50k    70.00%
  Latency Distribution
     50%   25.11ms
     75%   28.43ms
     90%   31.80ms
     99%    1.04s
  19753 requests in 2.00s, 29.27MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 3
Requests/sec:   9861.47
Transfer/sec:     14.61MB
"""


def test_what_wrk_prints_is_read() -> None:
    assert read_wrk(WRK) == Loaded(requests_per_s=9861.47, failures=6, p50_ms=25.11, p99_ms=1040.0)


def test_the_campaigns_of_the_bench_can_be_applied(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(campaign_file("http://127.0.0.1:1"))
    draft = read_file(file)
    assert sum(type(item).__name__ == "Campaign" for item in draft.items) == 201


async def test_a_paced_client_counts_latency_from_when_a_request_was_due() -> None:
    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        """One answer at a time, and the first takes a while: those that fell due meanwhile waited."""
        if len(upstream.requests) == 1:
            await asyncio.sleep(1)
        await answer(b"")(request, writer)

    async with UpstreamServer(slow) as upstream:
        command = [sys.executable, "-m", "bench.client", "paced", upstream.url, "1", "2", "100"]
        seen = json.loads(await output_of(*command, given="/vast"))
    assert seen["requests_per_s"] > 90
    assert seen["p99_ms"] > 800
    assert seen["p50_ms"] > 1


def test_the_picture_is_an_svg() -> None:
    picture = draw([Point(100, 1.5, 4), Point(5000, 12, 130)], "Latency")
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
