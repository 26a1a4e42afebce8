"""How long it takes to choose the candidates of a targeted placement among 10,000 campaigns.

`python -m bench.targeting` prints microseconds of CPU time for each request, the best of several rounds. Nothing runs
but the choice: no server, no database.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import uuid4

from app.domain import (
    TARGETED,
    AdRequest,
    Campaign,
    CampaignStatus,
    Catalog,
    Criteria,
    Placement,
    Price,
    PriceModel,
    Targeting,
)
from app.serving.limits import CANDIDATES_MAX, FIRST_CANDIDATES_MAX
from app.serving.pace import Pace
from app.serving.targeted_candidates import TargetedCandidates
from app.targeting.matcher import TargetingMatcher
from app.targeting.viewer import UNKNOWN_VIEWER

CAMPAIGNS = 10_000
REQUESTS = 2_000
ROUNDS = 5
PLACEMENT = Placement("p", "publisher", TARGETED)
REQUEST = AdRequest(placement_id="p", values={"placement_id": "p", "user_id": "u"})
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def campaign(number: int, placements_count: int) -> Campaign:
    """A campaign for one of the placements, of which the first is asked for."""
    place = number % placements_count
    return Campaign(
        id=f"c{number}",
        advertiser="Acme",
        status=CampaignStatus.ACTIVE,
        currency="USD",
        timezone="UTC",
        starts_at=NOW - timedelta(days=1),
        ends_at=NOW + timedelta(days=1),
        price=Price(PriceModel.CPM, Decimal(2)),
        targeting=Targeting(include=Criteria(placements=("p" if place == 0 else f"p{place}",))),
    )


def best_us(choose: Callable[[int], object]) -> float:
    """Microseconds of CPU time for each call with a seed, in the best round."""
    seeds = [uuid4().int for _ in range(REQUESTS)]
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for seed in seeds:
            choose(seed)
        rounds.append(time.process_time() - began)
    return min(rounds) / REQUESTS * 1e6


def choice_of(placements_count: int) -> Callable[[int, int], object]:
    """The choice with a seed and a limit, in a catalog whose campaigns are divided among these placements."""
    campaigns = {f"c{number}": campaign(number, placements_count) for number in range(CAMPAIGNS)}
    matcher = TargetingMatcher(Catalog(1, NOW, campaigns, {}, {}, {"p": PLACEMENT}, {}))
    candidates, pace = TargetedCandidates(matcher), Pace({})

    def choose(seed: int, limit: int) -> object:
        facts = matcher.facts(REQUEST, UNKNOWN_VIEWER)
        return candidates.choose(PLACEMENT, facts, UNKNOWN_VIEWER, NOW, seed, pace, limit)

    return choose


def main() -> None:
    """Print a line for each number of campaigns that match."""
    sys.stdout.write(f"of {CAMPAIGNS:,} match   first {FIRST_CANDIDATES_MAX}   all {CANDIDATES_MAX}\n")
    for placements_count in (CAMPAIGNS, 1_000, 100, 10, 1):
        choose = choice_of(placements_count)
        few, many = (best_us(partial(choose, limit=limit)) for limit in (FIRST_CANDIDATES_MAX, CANDIDATES_MAX))
        sys.stdout.write(f"{CAMPAIGNS // placements_count:>15,} {few:>8.0f} µs {many:>5.0f} µs\n")


if __name__ == "__main__":
    main()
