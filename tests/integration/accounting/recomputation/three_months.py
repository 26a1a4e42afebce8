"""Three months of a company: each thing happens to the server, and then to the recomputed books."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from asyncpg import Connection, Record

from app.accounting.correction_sets import SetReversal, reverse_set
from app.accounting.corrections import Adjustment, Reversal, adjust, reverse
from app.accounting.credits import Credit, credit_order
from app.accounting.invoices import make_invoices
from app.accounting.month_close import close_month
from app.accounting.payouts import Payout, record_payout
from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.maintenance.tasks import Maintenance
from app.store.connections import Store
from app.store.correction_sets import Condition
from app.store.roles import APP
from app.store.setup_history import ChangeOrigin
from app.store.third_party import Count, insert_changed
from tests.integration.accounting.recomputation.books import Ad, Books, ClosedMonth, Entry
from tests.integration.accounting.recomputation.company import File
from tests.integration.accounting.recomputation.invoices import invoice_month
from tests.integration.accounting.recomputation.month_ends import month_figures
from tests.integration.accounting.recomputation.players import Player, Told, ToldAd, open_for_players
from tests.integration.accounting.world import CLOCK

ENTRY = "SELECT entry_id FROM finance.invoice_lines WHERE serve_id = $1 AND slot = $2 AND kind = ANY ($3)"
RETENTION_DAYS = 400
PLAYING = ("start", "firstQuartile", "midpoint", "thirdQuartile", "complete")


class Company:
    """Does each thing with the server and with the recomputed books."""

    def __init__(self, books: Books, store: Store, owner: "Connection[Record]", app_url: str, seed: int) -> None:
        self.books = books
        self._store = store
        self._owner = owner
        self._app_url = app_url
        self._random = Random(seed)
        self._urls: dict[Ad, dict[str, str]] = {}
        self._later: list[tuple[datetime, Ad]] = []
        """Ads whose impression is sent at or after a moment."""

    async def at(self, moment: datetime) -> None:
        """Set the clock, and let maintenance release holds."""
        self.books.now = moment
        await self._owner.execute(CLOCK.format(f"timestamptz '{moment.isoformat()}'"))
        await self.maintain("holds released")
        self.books.release_expired()

    async def maintain(self, *tasks: str) -> None:
        for task in tasks:
            await Maintenance(self._store, RETENTION_DAYS).tasks[task].run()

    async def apply(self, file: File, author: str) -> None:
        source = f"file {author}.toml"
        tables = {kind: [dict(item) for item in items] for kind, items in file.items()}
        await apply(self._store, read_draft("test", tables), origin=ChangeOrigin(source, author))
        self.books.apply(file, author, APP, source)

    async def trade(self) -> None:
        """Let players ask for ads, and send what is due of the beacons."""
        async with open_for_players(self._app_url) as player:
            await self._send_later_impressions(player)
            for placement_id in ("news-preroll", "news-home", "film-midroll", "radio-spot"):
                for _ in range(self._random.randint(1, 3)):
                    await self._show(player, placement_id=placement_id)
            await self._show(player, placement_id="film-pod", pod_size="3")
            user_id = self._random.choice(("u1", "u2"))
            await self._show(player, campaign_id="in-brand", user_id=user_id, device_type="tv")
            await self._stitch(player, [{"placement_id": "news-home"}, {"placement_id": "film-midroll"}])
            assert await player.status(campaign_id="unknown") == 400

    async def _show(self, player: Player, **parameters: str) -> None:
        parameters["request_id"] = self._request_id()
        told = await player.ask(**parameters)
        ads = self._book_all(told, parameters, stitched=False)
        if self._random.random() < 0.2:
            again = await player.ask(**parameters)
            assert again == told
            if not told.ads:
                self.books.count_request(told.reason or "served", parameters)
        for ad in ads:
            await self._play(player, ad)

    async def _stitch(self, player: Player, requests: Sequence[dict[str, str]]) -> None:
        identified = [{**parameters, "request_id": self._request_id()} for parameters in requests]
        answers = await player.stitch(identified)
        for told, parameters in zip(answers, identified, strict=True):
            for ad in self._book_all(told, parameters, stitched=True):
                await self._play(player, ad)

    def _request_id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _book_all(self, told: Told, parameters: Mapping[str, str], *, stitched: bool) -> list[Ad]:
        self.books.count_request(told.reason or "served", parameters)
        assert {str(ad.serve_id) for ad in told.ads} <= {parameters["request_id"]}
        may_play_late = stitched or "pod_size" in parameters
        return [self._book(ad, parameters, may_play_late=may_play_late) for ad in told.ads]

    def _book(self, told: ToldAd, parameters: Mapping[str, str], *, may_play_late: bool) -> Ad:
        campaign_id = told.title if told.creative_id else "in-network"
        parties = self.books.payer(campaign_id)
        assert told.advertiser in (parties.advertiser, None)
        parties = replace(parties, serve_id=told.serve_id, slot=told.slot, creative_id=told.creative_id)
        if told.creative_id is None:
            parties = replace(parties, upstream_id="network")
        if placement_id := parameters.get("placement_id"):
            publisher_id = self.books.items["placements"][placement_id]["publisher_id"]
            name = self.books.name("publishers", publisher_id)
            parties = replace(parties, placement_id=placement_id, publisher_id=publisher_id, publisher=name)
        ad = self.books.serve(parties, may_play_late=may_play_late)
        ad.device_type = parameters.get("device_type")
        self._urls[ad] = told.urls
        return ad

    async def _play(self, player: Player, ad: Ad) -> None:
        """Some ads are seen immediately, some later or too late, some fail, and some are never heard of."""
        chance = self._random.random()
        if chance < 0.5:
            await self._watch(player, ad)
        elif chance < 0.6:
            await self._send(player, ad, "error")
            if chance < 0.55:
                await self._send(player, ad, "impression")
        elif chance < 0.9:
            delay_s = self._random.choice((600, 1_800, 5_000, 90_000, 400_000))
            self._later.append((self.books.now + timedelta(seconds=delay_s), ad))
        else:
            await player.forge(self._urls[ad]["impression"])

    async def _watch(self, player: Player, ad: Ad) -> None:
        await self._send(player, ad, "impression")
        for event in PLAYING[: self._random.randint(0, len(PLAYING))]:
            await self._send(player, ad, event)
        if self._random.random() < 0.2:
            for event in ("impression", "error", "click"):
                await self._send(player, ad, event)

    async def _send(self, player: Player, ad: Ad, event: str) -> None:
        if url := self._urls[ad].get(event):
            await player.send(url)
            self.books.beacon(ad, event)

    async def _send_later_impressions(self, player: Player) -> None:
        due = [ad for moment, ad in self._later if moment <= self.books.now]
        self._later = [(moment, ad) for moment, ad in self._later if moment > self.books.now]
        for ad in due:
            # A token is valid for a week after the serve.
            if self.books.now < ad.served_at + timedelta(days=7):
                await self._watch(player, ad)

    async def credit(self, order_id: str, amount: str, key: str) -> None:
        credit = Credit(order_id, Decimal(amount), f"reason of {key}", key)
        for _ in range(2):
            await credit_order(self._owner, credit)
        self.books.credit(order_id, credit.amount, credit.reason, key)

    async def pay(self, publisher_id: str, amount: str, currency: str, key: str) -> None:
        for _ in range(2):
            await record_payout(self._owner, Payout(publisher_id, Decimal(amount), key, currency))
        self.books.pay(publisher_id, Decimal(amount), currency, key)

    async def adjust(self, campaign_id: str, amount: str, key: str, day: date | None = None) -> Entry:
        adjustment = Adjustment(campaign_id, Decimal(amount), f"reason of {key}", key, day=day)
        booked = await adjust(self._owner, adjustment)
        assert (await adjust(self._owner, adjustment)).is_repeat
        entry = self.books.adjust(campaign_id, adjustment.amount, adjustment.reason, key, day)
        entry.entry_id = booked.entry_id
        return entry

    async def reverse(self, entry: Entry, key: str) -> Entry:
        """Take back an entry."""
        entry_id = entry.entry_id or await self._find_id(entry, ("charge", "settle"))
        reversal = Reversal(entry_id, f"reason of {key}", key)
        booked = await reverse(self._owner, reversal)
        assert (await reverse(self._owner, reversal)).is_repeat
        reversed_entry = self.books.reverse(entry, reversal.reason, key)
        reversed_entry.entry_id, reversed_entry.reversed_as = booked.entry_id, entry_id
        return reversed_entry

    async def reverse_some(self, month: date, campaign_ids: Sequence[str], key: str) -> None:
        """Take back one ad of each campaign that was booked in a month."""
        taken = self.books.reversals()
        for campaign_id in campaign_ids:
            ads = [
                entry
                for entry in self.books.of_month(month)
                if entry.is_ad and entry.parties.campaign_id == campaign_id and entry not in taken
            ]
            await self.reverse(self._random.choice(ads), f"{key}-{campaign_id}")

    async def reverse_set(self, campaign_id: str, since: datetime, until: datetime, key: str) -> None:
        """Take back the ads of a campaign in a span of time, some of which may be taken back already."""
        wanted = SetReversal(Condition(campaign_id, since=since, until=until), f"reason of {key}", key)
        for _ in range(2):
            await reverse_set(self._owner, wanted, lambda _done, _total: None)
        for reversal in self.books.reverse_set(campaign_id, since, until, wanted.reason, key):
            reversal.reversed_as = await self._find_id(reversal, ("charge", "settle"))
            reversal.entry_id = await self._find_id(reversal, ("reversal",))

    async def _find_id(self, entry: Entry, kinds: Sequence[str]) -> int:
        """Look up the id of an ad's entry, as finance does."""
        entry_id: int = await self._owner.fetchval(ENTRY, entry.parties.serve_id, entry.parties.slot, kinds)
        return entry_id

    async def import_counts(self, source: str, counts: Sequence[Count]) -> None:
        async with self._owner.transaction():
            await insert_changed(self._owner, source, counts)
        for count in counts:
            self.books.import_count(source, count.day, count.campaign_id, count.impressions)

    async def close(self, month: date) -> None:
        figures = month_figures(self.books, month)
        closed = await close_month(self._owner, month)
        entries = len(self.books.of_month(month))
        self.books.closed.append(ClosedMonth(month, self.books.now, closed.hash, entries, figures))

    async def invoice(self, month: date) -> None:
        for _ in range(2):
            await make_invoices(self._owner, month)
        invoice_month(self.books, month)
