"""What is measured: the server under each kind of load, and each of its references. Every run gives one figure."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from bench import loads, pgbench
from bench.beacons import held_impressions
from bench.books import CHARGE, SETTLE, Clock, charges, flushes, reconcile
from bench.cap_rows import viewers_of
from bench.loads import Crowd, Loaded
from bench.processes import Workers, output_of
from bench.redis_server import ledger_entries
from bench.scale import (
    ADS_PER_POD,
    BEACONS_PER_S_MAX,
    FEWER_PLAYERS,
    OVERLOAD,
    PLACEMENTS,
    PLAYERS,
    REPORT_S,
    TAIL_LOAD,
    TARGETED_PLACEMENTS,
    UPSTREAM_PLAYERS,
    WORKERS,
)
from bench.stage import Stage

Side = Callable[[], Awaitable[float]]
"""One run of a side. Raises RuntimeError if the run does not count."""

HOT = Crowd(campaigns=1)
PODS = Crowd(
    campaigns=PLACEMENTS,
    prefix="placement_id=break",
    more=f"&pod_size={ADS_PER_POD}&pod_duration_s=60&competitors=together",
)


class Sides:
    """Every side by its name; ads a second unless it is said otherwise."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._scale = stage.scale
        self._tail_per_s: float | None = None
        self.pgbench_clients: dict[str, int] = {}
        """The client counts at which pgbench was best."""
        self.by_name: Mapping[str, Side] = {
            "spread": lambda: self._served("main", PLAYERS, Crowd()),
            "hot": lambda: self._served("main", PLAYERS, HOT),
            "pods": lambda: self._served("main", PLAYERS, PODS),
            "targeted": lambda: self._of_placements("targeted", 1),
            "listed": lambda: self._of_placements("listed", self._scale.targeted_campaigns // TARGETED_PLACEMENTS),
            "spread_64": lambda: self._served("main", FEWER_PLAYERS, Crowd()),
            "hot_64": lambda: self._served("main", FEWER_PLAYERS, HOT),
            "overload": lambda: self._served("main", OVERLOAD * PLAYERS, Crowd()),
            "pgbench": lambda: self._reference("pgbench", Crowd()),
            "pgbench_hot": lambda: self._reference("pgbench_hot", HOT),
            "bare": lambda: self._bare(PLAYERS),
            "bare_64": lambda: self._bare(FEWER_PLAYERS),
            "redis": lambda: self._redis(PLAYERS),
            "redis_64": lambda: self._redis(FEWER_PLAYERS),
            "finance": self._finance,
            "many_caps": lambda: self._users(self._scale.cap_rows_many),
            "few_caps": lambda: self._users(self._scale.cap_rows_few),
            "upstream": lambda: self._served(
                "main", UPSTREAM_PLAYERS, Crowd(prefix="campaign_id=fetched", campaigns=1)
            ),
            "upstream_client": self._upstream_client,
            "beacons": self._beacons,
            "tail": self._tail,
            "tail_bare": self._tail_bare,
            "wal": self._wal,
        }

    async def peak_per_s(self) -> float:
        """What the server can serve now."""
        return await self._served("main", PLAYERS, Crowd())

    async def prove(self) -> None:
        """Reconciles the books of every server: what went wrong in one run stays wrong. Raises RuntimeError if so."""
        for server in self._stage.instances:
            await reconcile(server.database_url)

    async def _served(self, instance: str, count: int, crowd: Crowd) -> float:
        """Ads that were paid for."""
        server = await self._stage.instance(instance)
        clock = self._clock()
        await loads.players(server.workers.url, count, self._scale.load_s, crowd)
        return await clock.booked_per_s(server.database_url, CHARGE)

    def _clock(self) -> Clock:
        return Clock(self._scale.warm_s, self._scale.measured_s)

    async def _reference(self, database: str, crowd: Crowd) -> float:
        """What pgbench serves, at the client count that was best in a search before its first run."""
        if database not in self.pgbench_clients:
            rates = {count: await self._pgbench(database, count, crowd) for count in self._scale.pgbench_clients}
            self.pgbench_clients[database] = max(rates, key=lambda count: rates[count])
        return await self._pgbench(database, self.pgbench_clients[database], crowd)

    async def _pgbench(self, database: str, clients: int, crowd: Crowd) -> float:
        url = await self._stage.database(database)
        clock = self._clock()
        programs, seconds = self._stage.postgres.programs, self._scale.load_s
        await pgbench.run(programs, url, clients=clients, campaigns=crowd.campaigns, seconds=seconds)
        return await clock.booked_per_s(url, CHARGE)

    async def _bare(self, count: int) -> float:
        """Answers of the bare route."""
        workers = await self._stage.bare()
        return (await self._answered(workers, count)).requests_per_s

    async def _answered(self, workers: Workers, count: int) -> Loaded:
        loaded = await loads.players(workers.url, count, self._scale.load_s, Crowd())
        if loaded.failures:
            raise RuntimeError(f"{loaded.failures} of the answers of {workers.url} are wrong")
        return loaded

    async def _redis(self, count: int) -> float:
        workers, url = await self._stage.redis()
        clock = self._clock()
        paid, _ = await asyncio.gather(clock.counted_per_s(lambda: ledger_entries(url)), self._answered(workers, count))
        return paid

    async def _finance(self) -> float:
        """Ads that were paid for while a finance query holds its snapshot, since the first of these runs."""
        await self._stage.hold_snapshot("finance")
        return await self._served("finance", PLAYERS, Crowd())

    async def _users(self, cap_rows: int) -> float:
        """Ads for viewers who all have rows in frequency_caps already, which has so many rows."""
        instance = f"caps_{cap_rows}"
        await self._stage.fill_caps(instance, cap_rows)
        return await self._served(instance, PLAYERS, Crowd(viewers=viewers_of(cap_rows)))

    async def _of_placements(self, prefix: str, count: int) -> float:
        """Ads of placements of a server with the targeted campaigns."""
        await self._stage.add_targeted("targeted")
        return await self._served("targeted", PLAYERS, Crowd(campaigns=count, prefix=f"placement_id={prefix}"))

    async def _upstream_client(self) -> float:
        """Documents a second, by as many processes as the server has workers."""
        in_flight, times = UPSTREAM_PLAYERS // WORKERS, [str(self._scale.warm_s), str(self._scale.measured_s)]
        command = [sys.executable, "-m", "bench.fetchers", f"{self._stage.upstream_url}/vast", str(in_flight), *times]
        return sum(map(float, await asyncio.gather(*(output_of(*command) for _ in range(WORKERS)))))

    async def _beacons(self) -> float:
        """Impression beacons that turned a hold into spend."""
        server = await self._stage.instance("main")
        wanted = BEACONS_PER_S_MAX * self._scale.load_s
        paths = await held_impressions(server.database_url, self._stage.secret, wanted)
        clock = self._clock()
        await loads.senders(server.workers.url, PLAYERS, self._scale.load_s, paths)
        return await clock.booked_per_s(server.database_url, SETTLE)

    async def _tail(self) -> float:
        """The 99th percentile of the server's latency at a part of its peak, in milliseconds."""
        return (await self.at_rate(await self._rate_of_tails())).p99_ms

    async def _tail_bare(self) -> float:
        """The same of the bare route, at the same rate."""
        workers = await self._stage.bare()
        rate = await self._rate_of_tails()
        return (await loads.paced(workers.url, PLAYERS, self._scale.load_s, rate)).p99_ms

    async def _rate_of_tails(self) -> float:
        """The rate for one run of both: of the peak just before the first of them."""
        rate, self._tail_per_s = self._tail_per_s, None
        if rate is None:
            rate = self._tail_per_s = TAIL_LOAD * await self.peak_per_s()
        return rate

    async def at_rate(self, per_s: float) -> Loaded:
        """What players see of the server when so many ads a second are asked for."""
        server = await self._stage.instance("main")
        return await loads.paced(server.workers.url, PLAYERS, self._scale.load_s, per_s)

    async def _wal(self) -> float:
        """WAL flushes for each ad that was paid for, at saturation."""
        server = await self._stage.instance("main")
        flushed, paid = await flushes(server.database_url), await charges(server.database_url)
        await loads.players(server.workers.url, PLAYERS, self._scale.load_s, Crowd())
        # Connections report their flushes once a second, when they are used: a second of few requests brings the rest.
        await loads.paced(server.workers.url, FEWER_PLAYERS, REPORT_S, FEWER_PLAYERS)
        flushed, paid = await flushes(server.database_url) - flushed, await charges(server.database_url) - paid
        return flushed / paid
