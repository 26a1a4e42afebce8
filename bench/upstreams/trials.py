"""What is tried: every behavior with every protection, a black hole, and how fast an upstream that works may be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from bench import loads
from bench.books import CHARGE, Clock, reconcile
from bench.loads import Crowd
from bench.stage import Instance
from bench.upstreams import campaigns
from bench.upstreams.audience import Audience, Seen, p50_ms, p99_ms
from bench.upstreams.misbehaving import PRIMARY, Behavior, Stagehand

PER_S, BESIDE_PER_S = 100, 50
"""Requests of the campaign that is tried, and of each campaign beside it."""

WELL_S, MISBEHAVING_S, RECOVERS_AFTER_S = 0.8, 2.0, 0.8
CALM_S, HOLE_S = 4.0, 4.0
LOAD_S, WARM_S, MEASURED_S = 3, 0.8, 2.0
CROWDS = (10, 200)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What players got: parts of 1, and milliseconds."""

    filled: float
    by_primary: float
    p50_ms: float
    p99_ms: float


async def misbehave(stagehand: Stagehand, audience: Audience, behavior: str, protection: str) -> Outcome:
    """All is well at first, then the primary gets its cue; what is told is of the time since."""
    name = campaigns.trial_id(behavior, protection)
    await audience.paced(name, PER_S, WELL_S)
    if behavior == campaigns.RECOVERS:
        stagehand.cues[f"/{name}"] = Behavior.ERROR
        asyncio.get_running_loop().call_later(RECOVERS_AFTER_S, stagehand.cues.pop, f"/{name}")
    else:
        stagehand.cues[f"/{name}"] = Behavior(behavior)
    seen = await audience.paced(name, PER_S, MISBEHAVING_S)
    return Outcome(
        filled=sum(each.has_ad_of is not None for each in seen) / len(seen),
        by_primary=sum(each.has_ad_of == PRIMARY for each in seen) / len(seen),
        p50_ms=p50_ms(seen),
        p99_ms=p99_ms(seen),
    )


@dataclass(slots=True)
class BlackHole:
    """Answers while primaries were black holes, and of ads in hand also before."""

    unbroken: list[Seen] = field(default_factory=list)
    """Of requests that waited for a primary without a breaker."""
    waited: list[Seen] = field(default_factory=list)
    """Of requests that waited for a primary before its breaker opened."""
    spared: list[Seen] = field(default_factory=list)
    """Of requests for which the breaker was open."""
    fallback: list[Seen] = field(default_factory=list)
    """Of a campaign that has the fallback alone, at the same time."""
    own_before: list[Seen] = field(default_factory=list)
    own_during: list[Seen] = field(default_factory=list)

    @property
    def spared_ratio(self) -> float:
        """The 99th percentile behind an open breaker, by the fallback's own."""
        return p99_ms(self.spared) / p99_ms(self.fallback)

    @property
    def own_ratio(self) -> float:
        """The 99th percentile of ads in hand, by what it was before."""
        return p99_ms(self.own_during) / p99_ms(self.own_before)


async def black_hole(stagehand: Stagehand, audience: Audience) -> BlackHole:
    """Several primaries, one after the other: well for a while, then a black hole for as long."""
    found = BlackHole()
    for number in range(campaigns.HOLES + 1):
        name = campaigns.hole_id(number)
        own_before, *_ = await _beside(audience, name, CALM_S)
        stagehand.targets.clear()
        stagehand.cues[f"/{name}"] = Behavior.HANG
        own_during, fallback, seen = await _beside(audience, name, HOLE_S)
        waited = [each for each in seen if f"/{name}?of={each.user_id}" in stagehand.targets]
        if number == 0:
            found.unbroken += waited
            continue
        found.own_before += own_before
        found.own_during += own_during
        found.fallback += fallback
        found.waited += waited
        found.spared += [each for each in seen if each not in waited]
    return found


async def _beside(audience: Audience, name: str, seconds: float) -> list[list[Seen]]:
    """Answers of own creatives, of the fallback alone, and of this campaign, all at the same time."""
    asked = ((campaigns.OWN, BESIDE_PER_S), (campaigns.FALLBACK_ALONE, BESIDE_PER_S), (name, BESIDE_PER_S))
    return await asyncio.gather(*(audience.paced(campaign_id, per_s, seconds) for campaign_id, per_s in asked))


@dataclass(frozen=True, slots=True)
class Speed:
    """Ads that were paid for, how long players waited for them, and how many shared a transaction."""

    ads_per_s: float
    p50_ms: float
    p99_ms: float
    group_size: float


async def speed(server: Instance, campaign: str, players: int) -> Speed:
    """How fast so many players, each of whom asks all the time, get the ads of one campaign."""
    clock = Clock(WARM_S, MEASURED_S)
    before = await asyncio.to_thread(_groups, server.workers.url)
    loaded = await loads.players(
        server.workers.url, players, LOAD_S, Crowd(campaigns=1, prefix=f"campaign_id={campaign}")
    )
    await reconcile(server.database_url)
    after = await asyncio.to_thread(_groups, server.workers.url)
    requests, groups = after["sum"] - before["sum"], after["count"] - before["count"]
    paid = await clock.booked_per_s(server.database_url, CHARGE)
    return Speed(paid, loaded.p50_ms, loaded.p99_ms, requests / max(1, groups))


def _groups(url: str) -> Mapping[str, float]:
    """Requests (`sum`) and transactions (`count`) since the start, in both lanes."""
    with urlopen(f"{url}/metrics", timeout=10) as response:  # noqa: S310 - our own server
        families = text_string_to_metric_families(response.read().decode())
    found = {"sum": 0.0, "count": 0.0}
    for family in families:
        for sample in family.samples if family.name == "adserver_group_size" else ():
            part = sample.name.removeprefix("adserver_group_size_")
            if part in found:
                found[part] += sample.value
    return found
