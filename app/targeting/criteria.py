"""The criteria of targeting: what a request has of each, and whether that matches."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from app.domain import CRITERIA, KV_PREFIX, AdRequest, Criteria
from app.targeting.viewer import Viewer

PREFIX_MARK = "*"
"""The end of a value that matches all values that begin with the rest."""

KEYWORDS_MAX = 50
"""Keywords of a request that count."""

Facts = Mapping[str, tuple[str, ...]]
"""The values of a request by criterion, in lower case except for ids; none for an unknown property."""


class Rule(NamedTuple):
    """One list of a campaign, ready to be matched."""

    criterion: str
    exact: frozenset[str]
    prefixes: tuple[str, ...]

    def matches(self, facts: Facts) -> bool:
        """Return whether the request has one of the values."""
        values = facts.get(self.criterion)
        if values is None:
            return False
        return not self.exact.isdisjoint(values) or any(value.startswith(self.prefixes) for value in values)


def lists_of(criteria: Criteria) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and the values of every list that is not empty."""
    for name in CRITERIA:
        if values := getattr(criteria, name):
            yield name, values
    for name, values in criteria.kv.items():
        yield KV_PREFIX + name, values


def compile_rules(criteria: Criteria) -> tuple[Rule, ...]:
    """Return the rules for the lists of a campaign."""
    return tuple(_compile(name, values) for name, values in lists_of(criteria))


def _compile(criterion: str, values: tuple[str, ...]) -> Rule:
    prefixes = tuple(value.removesuffix(PREFIX_MARK) for value in values if value.endswith(PREFIX_MARK))
    return Rule(criterion, frozenset(value for value in values if not value.endswith(PREFIX_MARK)), prefixes)


def read_facts(request: AdRequest, viewer: Viewer, publisher_id: str | None) -> dict[str, tuple[str, ...]]:
    """Return the facts of a request whose placement belongs to this publisher."""
    facts = dict(_viewer_facts(viewer))
    if request.placement_id is not None:
        facts["placements"] = (request.placement_id,)
    if publisher_id is not None:
        facts["publishers"] = (publisher_id,)
    for name, value in request.values.items():
        if name in _PARAMETERS:
            criterion, read = _PARAMETERS[name]
            facts[criterion] = read(value)
        elif name.startswith(KV_PREFIX):
            facts[name] = split_values(value)
    return facts


@lru_cache(4096)
def _viewer_facts(viewer: Viewer) -> Facts:
    facts = {
        "countries": _lower(viewer.country),
        "regions": _lower(viewer.region),
        "cities": _lower(viewer.city),
        "device_types": _lower(viewer.device_type),
        "os": _lower(viewer.os),
        "browsers": _lower(viewer.browser),
        "languages": tuple(_with_primary_languages(viewer.languages)),
    }
    return {name: values for name, values in facts.items() if values}


def _lower(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value.lower(),)


def split_values(text: str) -> tuple[str, ...]:
    """Return the values of a parameter that may have several, separated by commas."""
    parts = text.lower().split(",", KEYWORDS_MAX)[:KEYWORDS_MAX]
    return tuple(value for part in parts if (value := part.strip()))


def _page(url: str) -> tuple[str, ...]:
    """Return a page with and without its scheme, because a campaign may name it either way."""
    url = url.lower()
    scheme, separator, rest = url.partition("://")
    return (url, rest) if separator and scheme in ("http", "https") else (url,)


def _with_primary_languages(tags: tuple[str, ...]) -> Iterator[str]:
    """Yield each tag and its primary language: a viewer who prefers en-US matches en."""
    for tag in tags:
        yield tag
        primary, separator, _ = tag.partition("-")
        if separator:
            yield primary


_PARAMETERS: Mapping[str, tuple[str, Callable[[str], tuple[str, ...]]]] = {
    "page_url": ("pages", _page),
    "app_bundle": ("apps", _lower),
    "content_genre": ("content_genres", _lower),
    "keywords": ("keywords", split_values),
}
"""The criteria that parameters are for, and how to read them."""
