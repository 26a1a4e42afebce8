"""Invoices: what each advertiser must pay for a closed month, and credit notes for corrections of earlier months.

Every ledger entry is in exactly one document, that of the month in which it is booked:

- An ad, an adjustment, and a reversal of an entry of the same month are in the invoice of the month.
- A reversal of an entry of an earlier month is in a document that corrects the invoice of that month.

A document with a negative total is a credit note. Both have numbers of one series.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from asyncpg import Connection, Record
from iso4217 import Currency

from app.errors import InvalidEntry
from app.store import invoices
from app.store.connections import disable_timeouts
from app.store.invoices import Invoice, InvoiceDetail, InvoiceParty, MonthSum, NewInvoice

DETAILS_MAX = 200_000
"""Lines of all invoices that one transaction makes."""

MADE_MAX = 100_000
"""Invoices that one call returns."""

MINOR_UNITS_MAX = 6
"""Decimals of the total in a currency that ISO 4217 lists without a minor unit, such as gold."""

MonthSums = Mapping[date | None, Sequence[MonthSum]]
"""Sums by the earlier month whose entries they reverse; None for those of the month itself."""


@dataclass(frozen=True, slots=True)
class MadeInvoices:
    """The invoices that a call has made, and the number of those that were made before."""

    made: list[Invoice]
    made_before: int


def minor_units(currency: str) -> int:
    """Return the number of decimals of the currency's minor unit in ISO 4217."""
    exponent = Currency(currency).exponent
    return MINOR_UNITS_MAX if exponent is None else int(exponent)


def round_total(total_exact: Decimal, decimals: int) -> Decimal:
    """Round half away from zero, as is usual in commerce; a credit note of an invoice thus has the same total."""
    return total_exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


async def make_invoices(connection: "Connection[Record]", month: date, order_id: str | None = None) -> MadeInvoices:
    """Make what is missing of the invoices of a closed month, of one order or of all, in one transaction.

    Raises InvalidEntry, and then makes nothing, if the month is not closed, or if an invoice that must be corrected was
    not made.
    """
    async with connection.transaction():
        await disable_timeouts(connection)
        await invoices.lock_numbers(connection)
        status = await invoices.read_status(connection, order_id)
        if status.last_closed is None or month > status.last_closed:
            raise InvalidEntry(
                "month", f"{month:%Y-%m} is not closed; close it first: adserver books close {month:%Y-%m}"
            )
        if not status.order_exists:
            raise InvalidEntry("order", f"unknown order {order_id!r}")
        before = await invoices.read_invoiced_parties(connection, month, order_id)
        known = {invoice.number for invoice in await _read(connection, month, order_id)}
        for party, sums in await _sums_by_party(connection, month, order_id):
            if party not in before:
                await _make_for_party(connection, month, party, sums)
        documents = await _read(connection, month, order_id)
        if order_id is not None and not documents:
            raise InvalidEntry("order", f"order {order_id!r} has nothing to invoice in {month:%Y-%m}")
        return MadeInvoices([invoice for invoice in documents if invoice.number not in known], len(known))


async def _read(connection: "Connection[Record]", month: date, order_id: str | None) -> list[Invoice]:
    found = await invoices.read_invoices(connection, month=month, limit=MADE_MAX)
    return [invoice for invoice in found if order_id in (None, invoice.order_id)]


async def _sums_by_party(
    connection: "Connection[Record]", month: date, order_id: str | None
) -> list[tuple[InvoiceParty, MonthSums]]:
    """Return the sums of a month by payer, in the order in which the invoices are numbered."""
    sums = await invoices.sum_up_month(connection, month, order_id, DETAILS_MAX + 1)
    if len(sums) > DETAILS_MAX:
        raise InvalidEntry("month", f"must have at most {DETAILS_MAX} lines; make the invoices of each --order first")
    by_party: defaultdict[InvoiceParty, defaultdict[date | None, list[MonthSum]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for item in sums:
        by_party[item.party][item.corrected_month].append(item)
    return sorted(by_party.items(), key=lambda item: (item[0].advertiser_id, item[0].order_id or "", item[0].currency))


async def _make_for_party(
    connection: "Connection[Record]", month: date, party: InvoiceParty, by_month: MonthSums
) -> None:
    """Make the invoice of a payer, and one document for each earlier month of which entries were reversed."""
    for corrected_month, sums in sorted(by_month.items(), key=lambda item: item[0] or date.min):
        details = _details(sums)
        if not any(detail.amount for detail in details):
            continue
        corrects = None
        if corrected_month is not None:
            corrects = await invoices.find_corrected_invoice(connection, corrected_month, party)
            if corrects is None:
                raise InvalidEntry(
                    "month",
                    f"{corrected_month:%Y-%m} must be invoiced first, because {month:%Y-%m} reverses entries of it",
                )
        decimals = minor_units(party.currency)
        total_exact = sum((detail.amount for detail in details), Decimal(0))
        invoice = NewInvoice(
            kind="credit_note" if total_exact < 0 else "invoice",
            month=month,
            corrects=corrects,
            party=party,
            advertiser_name=max((item.named_at, item.advertiser_name) for item in sums)[1],
            minor_units=decimals,
            total_exact=total_exact,
            total=round_total(total_exact, decimals),
        )
        await invoices.insert_invoice(connection, invoice, details)


def _details(sums: Iterable[MonthSum]) -> list[InvoiceDetail]:
    """Return the lines: one for each campaign, kind and price, then one for each adjustment."""
    ads: dict[tuple[str, str, Decimal], InvoiceDetail] = {}
    adjustments = []
    for item in sums:
        if item.impressions is None or item.reversed is None:
            adjustments.append(_adjustment(item))
            continue
        key = (item.campaign_id, item.kind, item.cpm or Decimal(0))
        line = ads.get(key) or InvoiceDetail(0, item.kind, item.campaign_id, item.cpm, 0, 0, 0, Decimal(0), None, None)
        ads[key] = replace(
            line,
            impressions=(line.impressions or 0) + item.impressions,
            reversed=(line.reversed or 0) + item.reversed,
            amount=line.amount + item.amount,
        )
    adjustments.sort(key=lambda line: (line.campaign_id, line.entry_id or 0))
    ordered = [ads[key] for key in sorted(ads)] + adjustments
    return [replace(line, position=position) for position, line in enumerate(ordered, start=1)]


def _adjustment(item: MonthSum) -> InvoiceDetail:
    return InvoiceDetail(
        position=0,
        kind="adjustment",
        campaign_id=item.campaign_id,
        cpm=None,
        impressions=None,
        reversed=None,
        billable=None,
        amount=item.amount,
        entry_id=item.entry_id,
        reason=item.reason,
    )
