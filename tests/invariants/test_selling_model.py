"""Whatever is sold, and whatever happens: each answer was allowed and due, and the books are the model's."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.embedded import EmbeddedPostgres
from app.serving import group_runner
from tests.invariants.selling_catalogs import IDS, ORDERS, some_budgets, some_catalogs, some_limits
from tests.invariants.selling_model import Request
from tests.invariants.selling_world import NOW, SESSIONS, USERS, Catalog, FragileTransaction, Selling

Step = tuple[Callable[..., Awaitable[None]], dict[str, Any]]
"""Something that happens: a method of `Selling`, and its arguments."""

EVENTS = ("sold", "sold", "impression", "click", "complete", "error")


def in_pod_or_alone(request: Request) -> Request:
    """Return a request whose parameters do not contradict each other."""
    if request.pod_size == 1:
        return replace(request, pod_duration_s=None, min_ads=1, competitors="apart")
    return replace(request, min_ads=min(request.min_ads, request.pod_size))


def step(method: Callable[..., Awaitable[None]], **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """Draw the arguments of a step."""
    return st.tuples(st.just(method), st.fixed_dictionaries(arguments))


some_requests = st.builds(
    Request,
    place=st.sampled_from(["listed", "targeted", "targeted", "blocking"]),
    user=st.sampled_from([*USERS, None]),
    session=st.sampled_from([None, None, None, None, *SESSIONS]),
    name=st.sampled_from([None, "named"]),
    pod_size=st.sampled_from([1, 1, 1, 2, 3, 4]),
    pod_duration_s=st.sampled_from([None, 25, 30, 45]),
    min_ads=st.sampled_from([1, 1, 2, 3]),
    competitors=st.sampled_from(["apart", "apart", "together"]),
).map(in_pod_or_alone)
some_campaign = st.sampled_from(IDS)
some_number = st.integers(0, 9)
some_crash = st.sampled_from([None, None, None, None, "before commit", "after commit"])
some_time = st.sampled_from([timedelta(minutes=10), timedelta(minutes=40), timedelta(hours=7), timedelta(days=1)])
many = st.lists(some_requests, min_size=2, max_size=6)
one = st.lists(some_requests, min_size=1, max_size=1)

asks = [
    step(Selling.ask, requests=one, is_repeated=st.just(False), crash=some_crash),
    step(Selling.ask, requests=many, is_repeated=st.booleans(), crash=some_crash),
    step(Selling.ask_again, number=some_number, crash=some_crash),
]
others = [
    step(Selling.wait, passed=some_time, swept=st.booleans()),
    step(Selling.change_budgets, campaign_id=some_campaign, budgets=some_budgets)
    | step(Selling.change_order, order_id=st.sampled_from([*ORDERS]), limit=some_limits),
    step(Selling.change_status, campaign_id=some_campaign, status=st.sampled_from(["active", "active", "paused"]))
    | step(
        Selling.change_creative,
        campaign_id=some_campaign,
        number=some_number,
        status=st.sampled_from(["active", "paused", "archived"]),
    ),
]
beacons = step(Selling.hear, number=some_number, events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4))
some_step = st.one_of(*asks[:2] * 2, *asks, beacons, beacons, beacons, *others)


async def play(postgres: EmbeddedPostgres, template: str, catalog: Catalog, steps: Sequence[Step]) -> None:
    """Take the steps, and compare the books after each."""
    async with AsyncExitStack() as open_until:
        selling = Selling(catalog)
        await selling.begin(open_until, postgres, template)
        for method, arguments in steps:
            await method(selling, **arguments)
            await selling.check_books()
        await selling.end()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("examples", "length"), [(8, 30), pytest.param(150, 60, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_what_is_sold_is_what_the_model_allows(
    postgres: EmbeddedPostgres, migrated_template: str, monkeypatch: pytest.MonkeyPatch, examples: int, length: int
) -> None:
    monkeypatch.setattr(group_runner, "GroupTransaction", FragileTransaction)

    @settings(
        max_examples=examples,
        deadline=None,
        print_blob=True,
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes; add Phase.shrink for a short example
        suppress_health_check=list(HealthCheck),
    )
    @given(some_catalogs(NOW), st.lists(some_step, min_size=length, max_size=length))
    def draw(catalog: Catalog, steps: list[Step]) -> None:
        asyncio.run(play(postgres, migrated_template, catalog, steps))

    draw()
