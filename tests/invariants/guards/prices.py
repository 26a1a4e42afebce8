"""T4: a campaign is charged and limited by what its price is for."""

from tests.invariants.guards.guard import Guard

PRICE_COLUMNS = "migrations/prices.py"
CAMPAIGN_TABLES = "app/campaign_file/campaign_tables.py"
PRICES_TEST = "tests/unit/campaign_file/test_prices.py"
FLAT_PRICES = "app/store/flat_prices.py"
FLAT_TEST = "tests/integration/accounting/test_flat_prices.py"
SOLD_TEST = "tests/integration/accounting/test_clicks_and_views.py"

PRICES_GUARDS = [
    Guard(
        "T4",
        "a campaign has one price",
        CAMPAIGN_TABLES,
        'if "cpm" in info.data and (info.data["cpm"] is None) == (price is None):',
        "if False:",
        f"{PRICES_TEST}::test_a_wrong_price_is_told_in_one_line",
    ),
    Guard(
        "T4",
        "the price decides which event charges",
        CAMPAIGN_TABLES,
        "billing is not None and billing not in price.model.billings:",
        "billing is None:",
        f"{PRICES_TEST}::test_a_wrong_price_is_told_in_one_line",
    ),
    Guard(
        "T4",
        "budgets count what the price is for",
        "app/campaign_file/price_tables.py",
        "if unit != model.counted_unit:",
        "if not unit:",
        f"{PRICES_TEST}::test_a_wrong_price_is_told_in_one_line",
    ),
    Guard(
        "T4",
        "the kind of price stays once ads were served",
        "app/campaign_file/apply.py",
        '                ("price", before.price.model, after.price.model),\n',
        "",
        f"{SOLD_TEST}::test_the_kind_of_price_stays_once_ads_were_served",
    ),
    Guard(
        "T4",
        "CHECK billing_fits_the_price",
        PRICE_COLUMNS,
        "WHEN 'cpc' THEN billing = 'click' WHEN",
        "WHEN 'cpc' THEN true WHEN",
        f"{SOLD_TEST}::test_the_schema_refuses_terms_that_do_not_fit_the_price",
    ),
    Guard(
        "T4",
        "CHECK cpm_has_three_decimals",
        PRICE_COLUMNS,
        "scale(trim_scale(price)) <= 3",
        "price >= 0",
        f"{SOLD_TEST}::test_the_schema_refuses_terms_that_do_not_fit_the_price",
    ),
    Guard(
        "T4",
        "a day of a flat price is booked once",
        "migrations/versions/0005_accounting_tables.py",
        """"Campaign with a flat price", primary_key=True),
        key_column("day", Date, "Day in the campaign's time zone"),""",
        """"Campaign with a flat price"),
        required("day", Date, "Day in the campaign's time zone"),""",
        f"{FLAT_TEST}::test_a_crash_before_the_commit_books_nothing",
    ),
    Guard(
        "T4",
        "a day of a flat price is within every budget",
        FLAT_PRICES,
        """ OR t.used + d.amount > allowed."limit")""",
        ")",
        f"{FLAT_TEST}::test_an_order_without_room_is_not_overspent_and_the_day_is_booked_later",
    ),
    Guard(
        "T4",
        "a day on which the campaign was not active costs nothing",
        FLAT_PRICES,
        "THEN p.part ELSE 0 END AS amount",
        "THEN p.part ELSE p.part END AS amount",
        f"{FLAT_TEST}::test_a_day_without_the_campaign_costs_nothing_and_is_not_made_up_for",
    ),
    Guard(
        "T4",
        "the days of flat prices are compared with their entries",
        PRICE_COLUMNS,
        "WHERE coalesce(f.amount, 0) <> coalesce(l.amount, 0)",
        "WHERE false",
        f"{FLAT_TEST}::test_a_missing_or_changed_entry_of_a_day_is_found",
    ),
]
