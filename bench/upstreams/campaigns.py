"""The campaigns of `make upstream-table`, as a campaign file: one for each behavior and protection."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.catalog import CAPS, TERMS, creative
from bench.upstreams.misbehaving import FALLBACK, Behavior

TIMEOUT_MS = 300

OWN, FALLBACK_ALONE = "own", "fallback-alone"
"""Campaigns with an own creative, and with nothing but the fallback."""

RECOVERS = "recovers"
"""500s first, and then all is well again."""

BEHAVIORS = (*(Behavior.HANG, Behavior.RESET, Behavior.ERROR, Behavior.GARBAGE, Behavior.SLOW), RECOVERS)


@dataclass(frozen=True, slots=True)
class Protection:
    """What differs from all protections on."""

    says: str
    limits: Mapping[str, str | int] = field(default_factory=dict)
    has_fallback: bool = True
    retries: bool = True


ALL_ON = "all-on"
NO_BREAKER = "no-breaker"

LIMITS: Mapping[str, str | int] = {"timeout_ms": TIMEOUT_MS, "max_in_flight": 8, "breaker_reset_s": 1}
"""Of every primary, unless its protection says otherwise; the rest as the campaign file's defaults have it."""

RELIABLE: Mapping[str, str | int] = {"timeout_ms": 1000, "max_in_flight": 1000, "breaker_failures": 10_000}
"""Of the fallback, which is not what is tried: a machine that is busy for a moment does not turn it off."""

PROTECTIONS: Mapping[str, Protection] = {
    ALL_ON: Protection("all on"),
    "no-fallback": Protection("no fallback", has_fallback=False),
    NO_BREAKER: Protection("no breaker", {"breaker_failures": 10_000}),
    "no-bulkhead": Protection("no breaker, no bulkhead", {"breaker_failures": 10_000, "max_in_flight": 10_000}),
    "no-timeout": Protection("no timeout but the deadline", {"timeout_ms": 30_000}),
    "no-retry": Protection("no retry", retries=False),
    "hedged": Protection("all on, and hedging", {"hedge": "true"}),
    "cached": Protection("all on, and a cache", {"cache_ttl_s": 1, "stale_if_error_s": 60}),
}

FAST: Mapping[str, tuple[Behavior, int]] = {
    "late1": (Behavior.LATE, 0),
    "tail1": (Behavior.TAIL, 0),
    "cached1": (Behavior.LATE, 300),
}
"""Campaigns that are asked for as fast as they answer: how their upstream behaves, and for how long it is cached."""

HOLES = 4
"""Upstreams that become black holes, each once."""


def hole_id(number: int) -> str:
    """The id of a campaign whose upstream becomes a black hole; 0 is the one without a breaker."""
    return f"hole{number}"


def trial_id(behavior: str, protection: str) -> str:
    """The id of a campaign and of its primary, and the path that this is asked at."""
    return f"{protection}-{behavior.replace(' ', '-').replace('%', '')}"


def campaign_file(url: str) -> str:
    """Everything that is asked for."""
    trials = [
        _upstream(name := trial_id(behavior, key), f"{url}/{name}", {**LIMITS, **protection.limits})
        + _campaign(name, name, *([FALLBACK] if protection.has_fallback else []))
        for key, protection in PROTECTIONS.items()
        for behavior in BEHAVIORS
    ]
    fast = [
        _upstream(name, f"{url}/{name}", {"timeout_ms": 1000, "max_in_flight": 1000, "cache_ttl_s": ttl_s})
        + _campaign(name, name, more=CAPS)
        for name, (_, ttl_s) in FAST.items()
    ]
    holes = [
        _upstream(name := hole_id(number), f"{url}/{name}?of={{user_id}}", {**LIMITS, **more})
        + _campaign(name, name, FALLBACK)
        for number in range(HOLES + 1)
        for more in ({"breaker_reset_s": 60} if number else PROTECTIONS[NO_BREAKER].limits,)
    ]
    return "\n".join(
        [
            _upstream(FALLBACK, f"{url}/{FALLBACK}", RELIABLE),
            _campaign(FALLBACK_ALONE, FALLBACK),
            _campaign(OWN) + creative(OWN),
            *trials,
            *fast,
            *holes,
        ]
    )


def _campaign(name: str, *upstream_ids: str, more: str = "") -> str:
    chain = ", ".join(f'"{upstream_id}"' for upstream_id in upstream_ids)
    return f'\n[[campaigns]]\nid = "{name}"{TERMS}upstreams = [{chain}]\n{more}\n'


def _upstream(name: str, tag_url: str, limits: Mapping[str, str | int]) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
    return f'\n[[upstreams]]\nid = "{name}"\ntag_url = "{tag_url}"\n{lines}'
