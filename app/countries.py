"""Country codes: requests and campaign files use alpha-2 and alpha-3 codes of ISO 3166-1."""

from collections.abc import Mapping

from iso3166 import countries

_ALPHA_2: Mapping[str, str] = {
    **{country.alpha3: country.alpha2 for country in countries},
    # Common codes outside ISO 3166-1: the United Kingdom, Greece (as used by the European Union) and Kosovo.
    "UK": "GB",
    "EL": "GR",
    "XKX": "XK",
}


def to_alpha_2(code: str) -> str:
    """Return the alpha-2 code of a country, or an unknown code as it is, in upper case."""
    code = code.upper()
    return _ALPHA_2.get(code, code)
