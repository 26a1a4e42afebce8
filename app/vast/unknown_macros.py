"""Detection of macros in the syntax of other ad servers, which this server does not replace."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import urlsplit

from app.vast.macro_sources import BRACED, BRACKETED

REPORTED_MAX = 10
"""Macros reported for one URL."""

_PLACEHOLDER = re.compile(
    r"""
      \$\{[^{}\x00-\x1f\x7f-\U0010ffff]{1,64}\}                         # ${GDPR}
    | \{\{\s*[^{}\x00-\x1f\x7f-\U0010ffff]{1,64}\}\}                    # {{device_id}}
    | %%[A-Za-z_][^%&\x00-\x1f\x7f-\U0010ffff]{0,64}%%                  # %%CACHEBUSTER%%
    | \$\$[A-Za-z]\w{0,64}\$\$                  # $$IFA$$
    | @@[A-Za-z]\w{0,64}@@                      # @@UID@@
    | __[A-Z][A-Z0-9_]{0,64}?__                 # __UID__
    | \bROKU_ADS_[A-Z_]{1,64}                   # ROKU_ADS_TRACKING_ID
    | \[[A-Za-z][\w.: -]{0,64}\](?!=|\[)        # [timestamp], but not the key of filter[type]=
    | \{[A-Za-z][\w.: -]{0,64}\}                # {unknown}
    | %5B[A-Za-z][\w.-]{0,64}%5D(?!=|%3D|%5B)   # %5BCACHEBUSTING%5D
    | %7B[A-Za-z][\w.-]{0,64}%7D                # %7Buser_id%7D
    """,
    re.VERBOSE | re.ASCII,
)

_SUPPORTED = {f"[{name}]": name for name in BRACKETED} | {f"{{{name}}}": name for name in BRACED}


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


_BY_LETTERS = {_letters(name): macro for macro, name in reversed(_SUPPORTED.items())}

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "[CACHEBUSTING]": ("cachebuster", "cb", "random", "rand", "rnd", "random_number", "ord", "nocache", "buster"),
    "[TIMESTAMP]": ("ts", "time", "unixtime", "epoch", "now"),
    "[GDPRCONSENT]": ("consent", "consent_string", "tcf", "gdpr_consent_string", "gdpr_consent_755", "tc_string"),
    "[LIMITADTRACKING]": ("lat", "is_lat", "dnt", "limit_tracking", "limit_ad_tracking"),
    "[IFA]": ("idfa", "aaid", "gaid", "adid", "rdid", "advertising_id", "advertising_identifier_plain", "tracking_id"),
    "[DEVICEIP]": ("ip_address", "client_ip", "user_ip", "uip"),
    "[DEVICEUA]": ("user_agent", "useragent"),
    "[PAGEURL]": ("url", "referrer", "referer", "referrer_url", "page", "description_url", "location"),
    "[APPBUNDLE]": ("bundle", "bundle_id", "app_id", "package_name"),
    "{us_privacy}": ("ccpa", "usp", "us_privacy_string"),
    "{user_id}": ("uid", "userid", "viewer_id", "uuid"),
    "{device_id}": ("did",),
    "{country}": ("country_code", "geo", "geo_country"),
    "{content_genre}": ("genre",),
    "[GPPSECTIONID]": ("gpp_section",),
}
_BY_SYNONYMS = {_letters(word): macro for macro, words in _SYNONYMS.items() for word in words}


def unknown_macros(url: str) -> Iterator[tuple[str, str | None]]:
    """Yield each unsupported macro of the URL once, with the supported macro of a similar name, if there is one."""
    found = dict.fromkeys(_PLACEHOLDER.findall(url.removeprefix(_origin(url))))
    for macro in [macro for macro in found if macro not in _SUPPORTED][:REPORTED_MAX]:
        yield macro, _nearest(macro)


def _origin(url: str) -> str:
    """Return the scheme and host, in which brackets enclose an IPv6 address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _nearest(macro: str) -> str | None:
    name = _letters(re.sub(r"ROKU_ADS_|%5B|%5D|%7B|%7D", "", macro))
    words = _BY_LETTERS | _BY_SYNONYMS
    close = [name] if name in words else get_close_matches(name, words, n=1, cutoff=0.8)
    return words[close[0]] if close else None
