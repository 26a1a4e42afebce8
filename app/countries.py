"""Country codes: the trade writes alpha-2 and alpha-3 codes of ISO 3166-1 side by side."""

from collections.abc import Mapping

from iso3166 import countries

_ALPHA_2: Mapping[str, str] = {
    **{country.alpha3: country.alpha2 for country in countries},
    # What is common although ISO 3166-1 has another code: the United Kingdom, Greece (in the European Union), Kosovo.
    "UK": "GB",
    "EL": "GR",
    "XKX": "XK",
}


def to_alpha_2(code: str) -> str:
    """The two-letter code of a country, in upper case; a code that is not known stays as it is."""
    code = code.upper()
    return _ALPHA_2.get(code, code)
