"""An index of campaigns by their targeting: finds those that a request may match without looking at any other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.domain import Campaign
from app.targeting.criteria import PREFIX_MARK, Facts, Rule

Key = tuple[str, str]
"""A criterion, and a value of it or the beginning of values with PREFIX_MARK."""


@dataclass(frozen=True, slots=True, eq=False)
class Tier:
    """The campaigns of one key that have the same priority. Tiers are equal only to themselves."""

    goals: tuple[str, ...]
    """Ids of those with a goal."""
    weighted: tuple[str, ...]
    """Ids of the others."""
    cumulative_weights: tuple[int, ...]
    """The weight of each of the others, added to those before it."""
    members: frozenset[str]


Tiers = Mapping[int, Tier]
"""The campaigns of one key, by priority."""


class CampaignIndex:
    """Indexes each campaign by one of its lists of values, and those without a list under no key.

    It takes the list whose most frequent value the fewest campaigns have: of campaigns for one placement in many
    countries the countries, of campaigns for one country in many placements the placements. `rules` has the lists by
    campaign id.
    """

    def __init__(self, campaigns: Sequence[Campaign], rules: Mapping[str, Sequence[Rule]]) -> None:
        keys = [key for campaign in campaigns for rule in rules.get(campaign.id, ()) for key in _keys(rule)]
        populations = Counter(keys)
        everywhere: list[Campaign] = []
        by_key: defaultdict[Key, list[Campaign]] = defaultdict(list)
        for campaign in campaigns:
            lists = rules.get(campaign.id)
            if not lists:
                everywhere.append(campaign)
                continue
            for key in _keys(min(lists, key=lambda rule: max(populations[key] for key in _keys(rule)))):
                by_key[key].append(campaign)
        self._everywhere = _tiers(everywhere)
        self._tiers = {key: _tiers(found) for key, found in by_key.items()}
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for criterion, value in by_key:
            if value.endswith(PREFIX_MARK):
                lengths[criterion].add(len(value) - len(PREFIX_MARK))
        self._criteria = frozenset(criterion for criterion, _ in by_key)
        self._prefix_lengths = {criterion: sorted(found) for criterion, found in lengths.items()}

    def find(self, facts: Facts) -> list[Tiers]:
        """Return the campaigns that may match these facts; one with several values may be in several of the results."""
        found = [self._everywhere] if self._everywhere else []
        for criterion, values in facts.items():
            if criterion in self._criteria:
                for value in values:
                    found += self._of_value(criterion, value)
        return found

    def _of_value(self, criterion: str, value: str) -> Iterator[Tiers]:
        if tiers := self._tiers.get((criterion, value)):
            yield tiers
        for length in self._prefix_lengths.get(criterion, ()):
            if length > len(value):
                return
            if tiers := self._tiers.get((criterion, value[:length] + PREFIX_MARK)):
                yield tiers


def _keys(rule: Rule) -> Iterator[Key]:
    for value in rule.exact:
        yield rule.criterion, value
    for prefix in rule.prefixes:
        yield rule.criterion, prefix + PREFIX_MARK


def _tiers(campaigns: Iterable[Campaign]) -> Tiers:
    by_priority: defaultdict[int, list[Campaign]] = defaultdict(list)
    for campaign in campaigns:
        by_priority[campaign.priority].append(campaign)
    return {priority: _tier(found) for priority, found in by_priority.items()}


def _tier(campaigns: list[Campaign]) -> Tier:
    weighted = [campaign for campaign in campaigns if not campaign.has_goal]
    return Tier(
        tuple(campaign.id for campaign in campaigns if campaign.has_goal),
        tuple(campaign.id for campaign in weighted),
        tuple(accumulate(campaign.weight for campaign in weighted)),
        frozenset(campaign.id for campaign in campaigns),
    )
