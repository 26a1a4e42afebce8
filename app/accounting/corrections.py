"""Corrections: entries that people book, each once, with a reason; counters follow in the same transaction."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from asyncpg import CheckViolationError, Connection, Record

from app.domain import AMOUNT_MAX
from app.errors import InvalidEntry
from app.store import budget_periods, closed_months, ledger_corrections
from app.store.ledger_corrections import LockedCampaign, ManualEntry

ENTRY_ID_MAX = 2**63 - 1
DECIMALS_MAX = 6
KEY_LENGTH_MAX = 128
REASON_LENGTH_MAX = 1000

NO_PERIOD = datetime(1970, 1, 1, tzinfo=UTC)
"""An adjustment counts in the lifetime budget alone: hours and days bound delivery, and it delivers nothing."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Money that is added to what a campaign has spent, or taken off it."""

    campaign_id: str
    amount: Decimal
    reason: str
    key: str
    currency: str | None = None
    """The campaign's, if it is given at all."""
    day: date | None = None
    """The day of the campaign's calendar whose date it carries; None for now."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """The taking back of one entry."""

    entry_id: int
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class BookedEntry:
    """The entry, and whether it was there before, under the same key."""

    entry_id: int
    campaign_id: str
    amount: Decimal
    currency: str
    booked_at: datetime
    is_repeat: bool


def parse_amount(text: str) -> Decimal:
    """Raises InvalidEntry if it is not an amount with at most six decimals that is not 0."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidEntry("amount", f"must be a number, not {text!r}") from None
    if not amount.is_finite() or amount == 0 or abs(amount) >= AMOUNT_MAX:
        raise InvalidEntry("amount", f"must not be 0, and less than {AMOUNT_MAX:f}")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS_MAX:
        raise InvalidEntry("amount", f"must have at most {DECIMALS_MAX} decimals")
    return amount


async def adjust(connection: "Connection[Record]", adjustment: Adjustment) -> BookedEntry:
    """Books an adjustment in a transaction of its own. Raises InvalidEntry; then nothing is booked."""
    _check_words(adjustment.key, adjustment.reason)
    async with connection.transaction():
        before = await ledger_corrections.find_correction(connection, adjustment.key)
        campaign = await _campaign(connection, adjustment.campaign_id, adjustment.day)
        if adjustment.currency not in (None, campaign.currency):
            raise InvalidEntry("currency", f"{adjustment.campaign_id} is in {campaign.currency}")
        if before is not None:
            # What is given no day carries the moment at which it is recorded.
            dated = campaign.day_start or before["recorded_at"]
            wanted = ("adjustment", adjustment.campaign_id, adjustment.amount, adjustment.reason, None, dated)
            return _repeated(before, adjustment.key, wanted)
        entry = ManualEntry(
            key=adjustment.key,
            kind="adjustment",
            campaign_id=adjustment.campaign_id,
            amount=adjustment.amount,
            currency=campaign.currency,
            reason=adjustment.reason,
            booked_at=campaign.day_start or campaign.now,
            hour_start=NO_PERIOD,
            day_start=NO_PERIOD,
        )
        return await _book(connection, entry, campaign)


async def reverse(connection: "Connection[Record]", reversal: Reversal) -> BookedEntry:
    """Takes one entry back, in a transaction of its own. Raises InvalidEntry; then nothing is booked."""
    _check_words(reversal.key, reversal.reason)
    if abs(reversal.entry_id) > ENTRY_ID_MAX:
        raise InvalidEntry("entry", f"there is no entry {reversal.entry_id}")
    async with connection.transaction():
        before = await ledger_corrections.find_correction(connection, reversal.key)
        found = await ledger_corrections.find_entry(connection, reversal.entry_id)
        if found is None:
            raise InvalidEntry("entry", f"there is no entry {reversal.entry_id}")
        if before is not None:
            dated = before["recorded_at"]
            wanted = ("reversal", found["campaign_id"], -found["amount"], reversal.reason, reversal.entry_id, dated)
            return _repeated(before, reversal.key, wanted)
        if found["kind"] == "reversal" or found["amount"] == 0:
            raise InvalidEntry("entry", f"{reversal.entry_id} has nothing to be taken back")
        campaign = await _campaign(connection, found["campaign_id"], None)
        # Who came first has booked by now, or never will.
        again = await ledger_corrections.find_entry(connection, reversal.entry_id)
        if again is not None and again["reversed_by"] is not None:
            raise InvalidEntry("entry", f"{reversal.entry_id} was taken back before, by entry {again['reversed_by']}")
        entry = ManualEntry(
            key=reversal.key,
            kind="reversal",
            campaign_id=found["campaign_id"],
            amount=-found["amount"],
            currency=found["currency"],
            reason=reversal.reason,
            booked_at=campaign.now,
            hour_start=found["hour_start"],
            day_start=found["day_start"],
            request_key=found["request_key"],
            slot=found["slot"],
            reverses=reversal.entry_id,
        )
        return await _book(connection, entry, campaign)


def _check_words(key: str, reason: str) -> None:
    for field, text, longest in (("key", key, KEY_LENGTH_MAX), ("reason", reason, REASON_LENGTH_MAX)):
        if not text.strip() or len(text) > longest or not text.isprintable():
            raise InvalidEntry(field, f"must be 1 to {longest} printable characters")


async def _campaign(connection: "Connection[Record]", campaign_id: str, day: date | None) -> LockedCampaign:
    # A month that is being closed can take minutes, and who changes the campaign is not to wait for that.
    await closed_months.lock_closing_shared(connection)
    campaign = await ledger_corrections.lock_campaign(connection, campaign_id, day)
    if campaign is None:
        raise InvalidEntry("campaign", f"there is no campaign {campaign_id}")
    if campaign.day_start is not None and campaign.day_start > campaign.now:
        raise InvalidEntry("date", f"{day} has not begun")
    return campaign


def _repeated(before: Record, key: str, wanted: tuple[object, ...]) -> BookedEntry:
    booked = tuple(before[part] for part in ("kind", "campaign_id", "amount", "reason", "reverses", "booked_at"))
    if booked != wanted:
        raise InvalidEntry("key", f"{key} was used before, for entry {before['entry_id']}, which is another")
    return BookedEntry(
        before["entry_id"],
        before["campaign_id"],
        before["amount"],
        before["currency"],
        before["booked_at"],
        is_repeat=True,
    )


async def _book(connection: "Connection[Record]", entry: ManualEntry, campaign: LockedCampaign) -> BookedEntry:
    closed = await ledger_corrections.read_last_closed_month(connection)
    month = entry.booked_at.astimezone(UTC).date().replace(day=1)
    if closed is not None and month <= closed:
        raise InvalidEntry("date", f"the books of {month:%Y-%m} are closed")
    await _check_balance(connection, entry)
    try:
        entry_id = await ledger_corrections.book_entry(connection, entry, campaign.timezone)
        await _count(connection, entry)
    except CheckViolationError as error:
        # The database has the last word, whatever was looked at before.
        raise InvalidEntry("amount", str(error)) from error
    return BookedEntry(entry_id, entry.campaign_id, entry.amount, entry.currency, entry.booked_at, is_repeat=False)


async def _check_balance(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Holds until the transaction ends: nobody else corrects the campaign, and ads only add to what was spent."""
    spent = await ledger_corrections.read_balance(connection, entry.campaign_id)
    if spent + entry.amount < 0:
        raise InvalidEntry("amount", f"only {spent} {entry.currency} were spent")


async def _count(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Comes last: every ad of the campaign waits for its counters, so nothing is waited for while they are locked."""
    await budget_periods.open_periods(connection, [entry.campaign_id])
    for counter in await ledger_corrections.lock_counters(connection, entry):
        room = None if counter.limit is None else counter.limit - counter.spent - counter.held
        if room is not None and entry.amount > max(room, Decimal(0)):
            raise InvalidEntry("amount", f"the {counter.period} budget has room for {room} {entry.currency}")
        if counter.spent + entry.amount < 0:
            raise InvalidEntry("amount", f"only {counter.spent} {entry.currency} were spent")
    await ledger_corrections.add_to_counters(connection, entry)
