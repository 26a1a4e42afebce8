"""What happens in the three months, moment by moment."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from app.store.third_party import Count
from tests.integration.accounting.recomputation import company as files
from tests.integration.accounting.recomputation.three_months import Company

SEPTEMBER, OCTOBER, NOVEMBER = (date(2037, month, 1) for month in (9, 10, 11))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def counts(campaign_id: str, impressions: Mapping[int, int]) -> list[Count]:
    """Counts of days in October."""
    return [Count(OCTOBER.replace(day=day), campaign_id, number) for day, number in impressions.items()]


async def trade_at(company: Company, *texts: str) -> None:
    for text in texts:
        await company.at(moment(text))
        await company.trade()


async def tell(company: Company, network_url: str) -> None:
    """Let three months pass, until `files.NOW`."""
    await company.at(moment("2037-09-01 08:00"))
    await company.maintain("partitions created")
    await company.apply(files.first_file(network_url), "dana")
    await company.credit("bella-eur", "20", "bank-1")
    await trade_at(company, "2037-09-01 10:00", "2037-09-05 21:15")
    await september(company)
    await october(company)
    await november(company)


async def september(company: Company) -> None:
    await company.at(moment("2037-09-12 09:00"))
    await company.apply(files.NEW_PRICE, "robin")
    await company.trade()
    await company.credit("bella-eur", "25.5", "bank-2")
    await company.maintain("days rolled up")
    await trade_at(company, "2037-09-20 16:40")
    await company.adjust("us-video", "-1.25", "make-good-1")
    adjustment = await company.adjust("de-prepaid", "0.000001", "rounding-1", date(2037, 9, 2))
    await company.reverse_some(SEPTEMBER, ["us-video", "in-brand"], "robots-1")
    await company.reverse(adjustment, "rounding-2")
    await company.adjust("in-brand", "3.5", "setup-1", date(2037, 9, 3))
    # Midnight in Auckland is at 12:00 before daylight saving time, and at 11:00 in it.
    await trade_at(company, "2037-09-26 12:30", "2037-09-26 13:59", "2037-09-26 14:20")
    # The month ends in Auckland, Kolkata, Berlin and New York.
    await trade_at(company, "2037-09-30 10:40", "2037-09-30 11:20", "2037-09-30 18:40")
    await trade_at(company, "2037-09-30 21:50", "2037-09-30 22:10", "2037-10-01 03:30", "2037-10-01 04:30")


async def october(company: Company) -> None:
    await company.credit("bella-eur", "30", "bank-3")
    await company.pay("news", "15.75", "USD", "payout-1")
    await trade_at(company, "2037-10-05 12:00")
    await company.close(SEPTEMBER)
    await company.invoice(SEPTEMBER)
    await trade_at(company, "2037-10-06 06:20")
    await company.reverse_some(SEPTEMBER, ["us-video", "nz-launch", "de-prepaid"], "robots-2")
    (setup,) = [entry for entry in company.books.entries if entry.key == "setup-1"]
    await company.reverse(setup, "setup-2")
    await trade_at(company, "2037-10-12 14:30")
    await company.at(moment("2037-10-12 15:00"))
    await company.apply(files.NEW_NAMES, "dana")
    await company.trade()
    await company.maintain("days rolled up")
    await company.pay("film", "4.000001", "EUR", "payout-2")
    await company.import_counts("meter", counts("nz-launch", {1: 5, 2: 0, 13: 4}) + counts("us-video", {5: 3}))
    await company.import_counts("meter", counts("nz-launch", {1: 5, 2: 1}) + counts("de-prepaid", {1: 9, 19: 2}))
    await trade_at(company, "2037-10-19 23:45", "2037-10-24 22:30")
    # The hour that Berlin has twice.
    await trade_at(company, "2037-10-25 00:30", "2037-10-25 01:30")
    await trade_at(company, "2037-10-31 10:40", "2037-10-31 11:20", "2037-10-31 18:45", "2037-10-31 23:30")
    await trade_at(company, "2037-11-01 03:45", "2037-11-01 05:30", "2037-11-01 06:30")


async def november(company: Company) -> None:
    await company.at(moment("2037-11-03 10:00"))
    await company.apply(files.NEW_ORDER, "robin")
    await company.trade()
    await company.credit("bella-eur", "40", "bank-4")
    await trade_at(company, "2037-11-06 09:00")
    await company.close(OCTOBER)
    await company.invoice(OCTOBER)
    await trade_at(company, "2037-11-06 10:00")
    await company.reverse_some(OCTOBER, ["us-video", "nz-launch", "in-network"], "robots-3")
    await company.pay("news", "-2.5", "USD", "payout-3")
    await company.reverse_set("nz-launch", moment("2037-09-30 11:00"), moment("2037-11-03 00:00"), "outage-1")
    await company.maintain("days rolled up", "hours rolled up", "budget periods archived")
    await trade_at(company, "2037-11-14 00:05")
    await company.credit("bella-eur", "-0.5", "bank-5")
    await company.at(moment("2037-11-20 13:00"))
    await company.reverse_some(SEPTEMBER, ["us-video", "in-brand", "de-prepaid"], "robots-4")
    await company.apply(files.LESS, "dana")
    await trade_at(company, "2037-11-27 21:00")
    await trade_at(company, "2037-11-28 16:40")
    await company.at(files.NOW)
    await company.trade()
