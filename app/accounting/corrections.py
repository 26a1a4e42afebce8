"""Corrections: manual ledger entries with a reason and an idempotency key; counters change in the same transaction."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from asyncpg import CheckViolationError, Connection, Record

from app.accounting.dates import next_month
from app.accounting.text_limits import require_key_and_reason
from app.domain import AMOUNT_MAX
from app.errors import InvalidEntry
from app.store import budget_periods, closed_months, correction_counters, correction_sets, ledger_corrections
from app.store.ledger_corrections import LockedCampaign, ManualEntry, Parties

ENTRY_ID_MAX = 2**63 - 1
DECIMALS_MAX = 6

NO_PERIOD = datetime(1970, 1, 1, tzinfo=UTC)
"""Hour and day of an adjustment: it delivers nothing, so it counts only toward the lifetime budget."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """An amount to add to a campaign's spend; negative for a credit."""

    campaign_id: str
    amount: Decimal
    reason: str
    key: str
    currency: str | None = None
    """If given, must be the campaign's currency."""
    day: date | None = None
    """The day, in the campaign's timezone, on which the entry is dated; None for now."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """A request to cancel one entry by booking its opposite."""

    entry_id: int
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class BookedEntry:
    """A booked entry; `is_repeat` is True if the same key had booked it before."""

    entry_id: int
    campaign_id: str
    amount: Decimal
    currency: str
    booked_on: date
    is_repeat: bool


def parse_amount(text: str) -> Decimal:
    """Return the amount. Raises InvalidEntry unless it is a nonzero number with at most six decimals."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidEntry("amount", f"must be a number, got {text!r}") from None
    if not amount.is_finite() or amount == 0 or abs(amount) >= AMOUNT_MAX:
        raise InvalidEntry(
            "amount", f"must not be 0, and must be between -{AMOUNT_MAX:f} and {AMOUNT_MAX:f}, exclusive, got {text!r}"
        )
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS_MAX:
        raise InvalidEntry("amount", f"must have at most {DECIMALS_MAX} decimals, got {text!r}")
    return amount


async def adjust(connection: "Connection[Record]", adjustment: Adjustment) -> BookedEntry:
    """Book an adjustment in its own transaction. Raises InvalidEntry, and then books nothing."""
    require_key_and_reason(adjustment.key, adjustment.reason)
    async with connection.transaction():
        previous = await _find_previous(connection, adjustment.key)
        campaign = await _lock_campaign(connection, adjustment.campaign_id)
        if adjustment.day is not None and adjustment.day > campaign.today:
            raise InvalidEntry("date", f"must not be in the future, got {adjustment.day}")
        if adjustment.currency not in (None, campaign.currency):
            raise InvalidEntry("currency", f"must be the campaign's, {campaign.currency}, got {adjustment.currency!r}")
        if previous is not None:
            # An adjustment without a day is booked when it is recorded, or later if that month is closed.
            booked_on = adjustment.day or max(previous["recorded_on"], previous["booked_on"])
            wanted = ("adjustment", adjustment.campaign_id, adjustment.amount, adjustment.reason, None, booked_on)
            return _repeated_entry(previous, adjustment.key, wanted)
        entry = ManualEntry(
            key=adjustment.key,
            kind="adjustment",
            parties=Parties(
                campaign.order_id, campaign.advertiser_id, campaign.advertiser_name, adjustment.campaign_id
            ),
            amount=adjustment.amount,
            currency=campaign.currency,
            reason=adjustment.reason,
            booked_on=adjustment.day or campaign.today,
            hour_start=NO_PERIOD,
            day_start=NO_PERIOD,
        )
        return await _book(connection, entry, is_dated=adjustment.day is not None)


async def reverse(connection: "Connection[Record]", reversal: Reversal) -> BookedEntry:
    """Reverse one entry in its own transaction. Raises InvalidEntry, and then books nothing."""
    require_key_and_reason(reversal.key, reversal.reason)
    if abs(reversal.entry_id) > ENTRY_ID_MAX:
        raise InvalidEntry("entry_id", f"unknown entry {reversal.entry_id}")
    async with connection.transaction():
        previous = await _find_previous(connection, reversal.key)
        found = await ledger_corrections.find_entry(connection, reversal.entry_id)
        if found is None:
            raise InvalidEntry("entry_id", f"unknown entry {reversal.entry_id}")
        if previous is not None:
            booked_on = previous["booked_on"]
            wanted = ("reversal", found["campaign_id"], -found["amount"], reversal.reason, reversal.entry_id, booked_on)
            return _repeated_entry(previous, reversal.key, wanted)
        if found["kind"] == "reversal" or found["amount"] == 0:
            raise InvalidEntry("entry_id", f"entry {reversal.entry_id} cannot be reversed")
        campaign = await _lock_campaign(connection, found["campaign_id"])
        # Read again under the lock: a concurrent reversal has committed by now, or has failed.
        again = await ledger_corrections.find_entry(connection, reversal.entry_id)
        if again is not None and again["reversed_by"] is not None:
            reason = f"entry {reversal.entry_id} is already reversed by entry {again['reversed_by']}"
            raise InvalidEntry("entry_id", reason)
        entry = ManualEntry(
            key=reversal.key,
            kind="reversal",
            parties=Parties(*(found[column] for column in Parties._fields)),
            amount=-found["amount"],
            publisher_amount=-found["publisher_amount"],
            currency=found["currency"],
            reason=reversal.reason,
            booked_on=campaign.today,
            hour_start=found["hour_start"],
            day_start=found["day_start"],
            request_key=found["request_key"],
            slot=found["slot"],
            reverses=reversal.entry_id,
            reverses_booked_on=found["booked_on"],
        )
        return await _book(connection, entry, is_dated=False)


async def _find_previous(connection: "Connection[Record]", key: str) -> Record | None:
    """Return the correction under the key, if any. Raises InvalidEntry if the key was used for a set."""
    previous = await ledger_corrections.find_correction(connection, key)
    if await correction_sets.find_set(connection, key) is not None:
        raise InvalidEntry("key", f"key {key} was already used for a set of entries")
    return previous


async def _lock_campaign(connection: "Connection[Record]", campaign_id: str) -> LockedCampaign:
    # Wait for a month close, which can take minutes, before locking the campaign, so that changes to it need not wait.
    await closed_months.lock_closing_shared(connection)
    campaign = await ledger_corrections.lock_campaign(connection, campaign_id)
    if campaign is None:
        raise InvalidEntry("campaign_id", f"unknown campaign {campaign_id!r}")
    return campaign


def _repeated_entry(previous: Record, key: str, wanted: tuple[object, ...]) -> BookedEntry:
    """Return the entry that the key has booked. Raises InvalidEntry if it differs from the wanted one."""
    booked = tuple(previous[column] for column in ("kind", "campaign_id", "amount", "reason", "reverses", "booked_on"))
    if booked != wanted:
        raise InvalidEntry("key", f"key {key} was already used for entry {previous['entry_id']} with different values")
    return BookedEntry(
        previous["entry_id"],
        previous["campaign_id"],
        previous["amount"],
        previous["currency"],
        previous["booked_on"],
        is_repeat=True,
    )


async def _book(connection: "Connection[Record]", entry: ManualEntry, *, is_dated: bool) -> BookedEntry:
    """Book an entry; one that is not dated by its caller goes to the first open day if its day is in a closed month."""
    closed = await ledger_corrections.read_last_closed_month(connection)
    if closed is not None and entry.booked_on < next_month(closed):
        if is_dated:
            raise InvalidEntry("date", f"the books of {entry.booked_on:%Y-%m} are closed")
        entry = replace(entry, booked_on=next_month(closed), late_from=entry.booked_on)
    await _require_balance(connection, entry)
    try:
        entry_id = await ledger_corrections.book_entry(connection, entry)
        await _update_counters(connection, entry)
    except CheckViolationError as error:
        # The constraints of the database decide, regardless of the checks above.
        raise InvalidEntry("amount", str(error)) from error
    campaign_id = entry.parties.campaign_id
    return BookedEntry(entry_id, campaign_id, entry.amount, entry.currency, entry.booked_on, is_repeat=False)


async def _require_balance(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Raise InvalidEntry if the campaign's spend would become negative.

    The result stays valid until the transaction ends: the campaign is locked for corrections, and ads only add spend.
    """
    spent = await ledger_corrections.read_balance(connection, entry.parties.campaign_id)
    if spent + entry.amount < 0:
        raise InvalidEntry("amount", f"must be at least {-spent} {entry.currency}, because no more was spent")


async def _update_counters(connection: "Connection[Record]", entry: ManualEntry) -> None:
    """Add the entry to the budget counters. Raises InvalidEntry if a budget has no room for it.

    This comes last, because every ad of the campaign waits while its counters are locked.
    """
    await budget_periods.open_periods(connection, [entry.parties.campaign_id])
    counters = await correction_counters.lock_counters(connection, [entry.corrected_amount])
    for counter in counters:
        if counter.limit is not None:
            room = max(counter.limit - counter.spent - counter.held, Decimal(0))
            if entry.amount > room:
                owner = f"budget of order {counter.order_id}" if counter.order_id else f"{counter.period} budget"
                reason = f"must be at most {room} {entry.currency}, the rest of the {owner}"
                raise InvalidEntry("amount", reason)
        if counter.spent + entry.amount < 0:
            reason = f"must be at least {-counter.spent} {entry.currency}, because no more was spent"
            raise InvalidEntry("amount", reason)
    await correction_counters.add_to_counters(connection, counters)
