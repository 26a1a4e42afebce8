"""Holding a draft against what the database has: references, and changes that running campaigns do not allow."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.campaign_file.parser import Draft
from app.domain import Campaign, CampaignStatus, Catalog, Creative, Placement, Publisher, Upstream
from app.errors import FileFault
from app.store.catalog_writes import Thing


@dataclass(frozen=True, slots=True)
class Known:
    """What there is, by kind and id."""

    things: Mapping[type[Thing], Mapping[str, Thing]]
    owners: frozenset[str] = field(default_factory=frozenset)
    """Campaigns with creatives of their own."""

    @classmethod
    def of(cls, catalog: Catalog) -> "Known":
        """Everything in the catalog."""
        creatives = {creative.id: creative for of_campaign in catalog.creatives.values() for creative in of_campaign}
        return cls(
            {
                Publisher: catalog.publishers,
                Upstream: catalog.upstreams,
                Campaign: catalog.campaigns,
                Creative: creatives,
                Placement: catalog.placements,
            },
            frozenset(catalog.creatives),
        )

    def with_draft(self, draft: Draft) -> "Known":
        """What there will be when the draft is applied."""
        new: defaultdict[type[Thing], dict[str, Thing]] = defaultdict(dict)
        for thing in draft.things:
            new[type(thing)][thing.id] = thing
        return Known(
            {kind: {**self.things.get(kind, {}), **new[kind]} for kind in {*self.things, *new}},
            self.owners | {thing.campaign_id for thing in draft.things if isinstance(thing, Creative)},
        )

    def thing(self, kind: type[Thing], thing_id: str) -> Thing | None:
        """The thing of this kind with this id."""
        return self.things.get(kind, {}).get(thing_id)

    def campaign(self, campaign_id: str) -> Campaign | None:
        """The campaign with this id."""
        found = self.thing(Campaign, campaign_id)
        return found if isinstance(found, Campaign) else None


def faults(draft: Draft, known: Known) -> list[FileFault]:
    """Every fault of the draft, its own first, and then in file order those against `known`."""
    checker = _Checker(draft, known)
    return [*draft.faults, *(fault for thing in draft.things for fault in checker.check(thing))]


class _Checker:
    def __init__(self, draft: Draft, known: Known) -> None:
        self._draft = draft
        self._before = known
        self._after = known.with_draft(draft)
        # A creative with a fault may be the one that a campaign seems to be without.
        self._creatives_to_come = any(
            kind is Creative and self._after.thing(kind, thing_id) is None for kind, thing_id in draft.places
        )

    def check(self, thing: Thing) -> Iterator[FileFault]:
        place = self._draft.places[type(thing), thing.id]
        for key, reason in self._wrong(thing):
            yield FileFault(f"{place}.{key}", reason)

    def _wrong(self, thing: Thing) -> Iterator[tuple[str, str]]:
        match thing:
            case Campaign():
                yield from self._missing("upstreams", Upstream, thing.upstreams)
                yield from self._changes(thing)
                yield from self._ads(thing)
            case Creative():
                yield from self._owner(thing)
            case Placement():
                yield from self._missing("campaigns", Campaign, thing.campaigns)

    def _exists(self, kind: type[Thing], thing_id: str) -> bool:
        """Whether it will be there, if the faults of the file are mended."""
        return self._after.thing(kind, thing_id) is not None or self._draft.has(kind, thing_id)

    def _missing(self, key: str, kind: type[Thing], ids: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        for no, thing_id in enumerate(ids):
            if not self._exists(kind, thing_id):
                yield f"{key}[{no}]", f"there is no {kind.__name__.lower()} {thing_id}"

    def _changes(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        before = self._before.campaign(campaign.id)
        if before and before.status is CampaignStatus.ENDED and campaign.status is not CampaignStatus.ENDED:
            yield "status", "must stay ended: a campaign that has ended does not come back"

    def _ads(self, campaign: Campaign) -> Iterator[tuple[str, str]]:
        owns = campaign.id in self._after.owners
        if campaign.upstreams and owns:
            yield "upstreams", "must be empty, because the campaign has creatives"
        elif campaign.status is CampaignStatus.ACTIVE and not (campaign.upstreams or owns or self._creatives_to_come):
            yield "upstreams", "or creatives must be there while the campaign is active"

    def _owner(self, creative: Creative) -> Iterator[tuple[str, str]]:
        if not self._exists(Campaign, creative.campaign_id):
            yield "campaign_id", f"there is no campaign {creative.campaign_id}"
        before = self._before.thing(Creative, creative.id)
        if isinstance(before, Creative) and before.campaign_id != creative.campaign_id:
            yield "campaign_id", f"must stay {before.campaign_id}: a creative does not change its campaign"
        owner = self._after.campaign(creative.campaign_id)
        if owner and owner.upstreams and not self._draft.has(Campaign, owner.id):
            yield "campaign_id", f"must not be {owner.id}, which gets its ads from upstreams"


def missing_publishers(draft: Draft, known: Known) -> list[Publisher]:
    """The publishers that placements name and nobody has set up: they begin without limits."""
    named = dict.fromkeys(thing.publisher_id for thing in draft.things if isinstance(thing, Placement))
    return [
        Publisher(publisher_id)
        for publisher_id in named
        if known.thing(Publisher, publisher_id) is None and not draft.has(Publisher, publisher_id)
    ]
