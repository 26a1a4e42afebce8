"""Parsing of a campaign file into a draft, with all its faults."""

from decimal import Decimal
from pathlib import Path

import pytest

from app.campaign_file.parser import FILE_BYTES_MAX, read_draft, read_file
from app.domain import (
    Budget,
    BudgetPeriod,
    Campaign,
    CampaignStatus,
    CapWindow,
    Criteria,
    FrequencyCap,
    Price,
    PriceModel,
    Targeting,
)
from app.errors import InvalidFile
from tests.unit.campaign_file.examples import document, faults_of, ordered, spoiled

CAMPAIGN = """
[[campaigns]]
id = "spring"
advertiser = "Acme"
currency = "USD"
starts_at = 2026-01-01T00:00:00Z
ends_at = 2027-01-01T00:00:00Z
cpm = 2500.125
budgets = {{ lifetime = 1000, day = "100.10" }}
frequency_caps = [ {{ impressions = 3, per = "day" }}, {{ impressions = 1, per = "minute" }} ]
{}
"""


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "campaigns.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_every_key_of_the_example_becomes_what_the_domain_calls_it() -> None:
    draft = read_draft("test.toml", ordered())
    assert not draft.faults
    assert [(type(item).__name__, item.id) for item in draft.items] == [
        ("Publisher", "tv"),
        ("Advertiser", "Acme"),
        ("Order", "acme-2026"),
        ("Upstream", "primary"),
        ("Campaign", "spring"),
        ("Campaign", "network"),
        ("Creative", "spring-15s"),
        ("Placement", "preroll"),
    ]


def test_money_in_a_file_is_exact_whether_text_or_number(tmp_path: Path) -> None:
    (campaign,) = read_file(write(tmp_path, CAMPAIGN.format(""))).items
    assert isinstance(campaign, Campaign)
    assert campaign.price == Price(PriceModel.CPM, Decimal("2500.125"))
    assert campaign.budgets == {
        BudgetPeriod.LIFETIME: Budget(Decimal(1000)),
        BudgetPeriod.DAY: Budget(Decimal("100.10")),
    }


def test_a_budget_is_of_money_of_impressions_or_of_both() -> None:
    budgets = {"hour": {"impressions": 10}, "day": {"amount": "1.50", "impressions": 100}, "lifetime": {"amount": 20}}
    (campaign,) = read_draft("test.toml", {"campaigns": [document()["campaigns"][0] | {"budgets": budgets}]}).items
    assert isinstance(campaign, Campaign)
    assert campaign.budgets == {
        BudgetPeriod.HOUR: Budget(impressions=10),
        BudgetPeriod.DAY: Budget(Decimal("1.50"), 100),
        BudgetPeriod.LIFETIME: Budget(Decimal(20)),
    }


def test_a_file_may_begin_with_the_mark_that_some_editors_write(tmp_path: Path) -> None:
    plain = CAMPAIGN.format("").encode()
    assert read_file(write(tmp_path, b"\xef\xbb\xbf" + plain)).items == read_file(write(tmp_path, plain)).items


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (campaign,) = read_file(write(tmp_path, CAMPAIGN.format(""))).items
    assert isinstance(campaign, Campaign)
    assert (campaign.status, campaign.timezone) == (CampaignStatus.ACTIVE, "UTC")
    assert campaign.targeting == Targeting()


def test_caps_come_in_the_order_of_their_windows_and_targeting_in_lower_case(tmp_path: Path) -> None:
    file = write(tmp_path, CAMPAIGN.format('targeting = { countries = ["US", "de"], device_types = ["CTV"] }'))
    (campaign,) = read_file(file).items
    assert isinstance(campaign, Campaign)
    assert campaign.frequency_caps == (FrequencyCap(3, CapWindow.DAY), FrequencyCap(1, CapWindow.MINUTE))
    assert campaign.targeting == Targeting(Criteria(countries=("us", "de"), device_types=("ctv",)))


def test_a_country_has_one_code_however_the_file_writes_it(tmp_path: Path) -> None:
    file = write(tmp_path, CAMPAIGN.format('targeting = { countries = ["USA", "de", "us", "GBR", "UK", "ROU"] }'))
    (campaign,) = read_file(file).items
    assert isinstance(campaign, Campaign)
    assert campaign.targeting.include.countries == ("us", "de", "gb", "ro")


def test_every_fault_of_a_file_is_told_at_once() -> None:
    changed = spoiled("campaigns[0].cpm", "-1")
    changed["campaigns"][1] |= {"currency": "XXX", "color": "red"}
    changed["placements"][0]["campaigns"] = []
    changed["colors"] = []
    assert [fault.key for fault in faults_of(changed)] == [
        "colors",
        "campaigns[0].cpm",
        "campaigns[1].currency",
        "campaigns[1].color",
        "placements[0].campaigns",
    ]


def test_two_entries_of_a_kind_cannot_share_an_id() -> None:
    changed = document()
    changed["campaigns"].append(changed["campaigns"][0])
    (fault,) = faults_of(changed)
    assert (fault.key, fault.reason) == ("campaigns[2].id", "must not be repeated: it is the id of campaigns[0]")


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        ("cpm = \n", "line 1, column 7", "invalid TOML: Invalid value"),
        ("[campaigns", "end of document", "invalid TOML: Expected ']' at the end of a table declaration"),
        ('a = "b"\na = "c"\n', "line 2, column 8", "invalid TOML: Cannot overwrite a value"),
        (b'id = "\xff"', "byte 6", "invalid UTF-8"),
        (b"a = " + b"[" * 100_000, "file", "nested too deeply"),
        ("a = " + "9" * 5000, "file", ...),
        ("campaigns = 3", "campaigns", "must be a list of at most 100000 tables: [[campaigns]]"),
        ("[campaigns]\nid = 3", "campaigns", "must be a list of at most 100000 tables: [[campaigns]]"),
        ("campaigns = [3]", "campaigns[0]", "must be a table"),
        ("[[campaign]]\nid = 3", "campaign", "unknown key"),
    ],
)
def test_what_is_no_campaign_file_is_told_with_its_place(
    tmp_path: Path, content: str | bytes, key: str, reason: object
) -> None:
    try:
        (fault,) = read_file(write(tmp_path, content)).faults
    except InvalidFile as error:
        (fault,) = error.faults
    assert fault.key == key
    assert reason in (..., fault.reason)


@pytest.mark.parametrize("exponent", ["9" * 20, "-" + "9" * 20])
def test_a_number_beyond_all_reckoning_is_a_fault_of_its_key(tmp_path: Path, exponent: str) -> None:
    (fault,) = read_file(write(tmp_path, CAMPAIGN.format("").replace("2500.125", f"1e{exponent}"))).faults
    assert (fault.key, fault.reason) == ("campaigns[0].cpm", 'must be an amount such as "12.50"')


def test_a_file_that_is_not_there_or_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="No such file or directory"):
        read_file(tmp_path / "nothing.toml")
    with pytest.raises(InvalidFile, match="Is a directory"):
        read_file(tmp_path)
    with pytest.raises(InvalidFile, match="must have at most 33554432 bytes"):
        read_file(write(tmp_path, b"#" * (FILE_BYTES_MAX + 1)))


def test_the_message_names_file_key_and_reason_on_a_line_each(tmp_path: Path) -> None:
    file = write(tmp_path, "color = 3\nshape = 4")
    error = InvalidFile(str(file), list(read_file(file).faults))
    assert str(error) == f"{file}: color: unknown key\n{file}: shape: unknown key"
