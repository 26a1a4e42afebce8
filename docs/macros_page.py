"""Writes docs/macros.md from the sources of the macros themselves: `make docs`."""

import sys
from datetime import UTC, datetime

from app.vast.macro_sources import BRACED, BRACKETED, MacroContext, Source
from app.vast.macros import UNKNOWN, WITHHELD, expand

NOTHING_KNOWN = MacroContext(
    values={},
    timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    cachebusting="12345678",
    correlator="1",
    request_id="named by the player",
)

HEAD = f"""# Macros

## In the tag URLs of upstreams

A tag URL of the campaign file, and every URL that a Wrapper leads to, may hold the macros of VAST 4.x in square
brackets: `[CACHEBUSTING]`. The server asks, so the server fills them in, from the parameters of the player's request
(named like this: `page_url`). Values are percent-encoded as `encodeURIComponent` does it; in a list the commas stay.

- A value that is not known is sent as `{UNKNOWN}`.
- A value that tells who watches is sent as `{WITHHELD}` where the request's privacy signals forbid that the user is
  told from others (see [players.md](players.md#privacy)). It is marked in the last column.
- Brackets and braces that are no macro of these lists stay as they are, and so do the macros of other ad servers:
  `%%CACHEBUSTER%%`, `${{GDPR}}`, `[timestamp]`. `adserver apply` and the admin API note them, each with the macro to
  use instead where one has a similar name.

| Macro | Where its value comes from | Unknown | Identification forbidden |
|---|---|---|---|
"""

FIELDS = """
Tag URLs of the campaign file, and only those, may also hold parameters of the request by their own names in braces:
what they say is between the operator and the upstreams that the operator chose, so that a URL that came in
somebody's document does not get them.

| Field | Where its value comes from | Unknown | Identification forbidden |
|---|---|---|---|
"""

TAIL = """
Two answers of one upstream are the same for the cache if their tag URLs differ in nothing but what changes with every
request: `[CORRELATOR]`, `[REQUESTID]`, `[TIMESTAMP]`, `[CACHEBUSTING]`, `[TRANSACTIONID]`, `{request_id}` and `{tmax}`.
An upstream whose documents are kept gets no `X-Device-IP` and no `X-Device-User-Agent`: what it is to tell viewers
apart by has to be in its tag URL.

## In tracking URLs

Who sends a request fills its macros in, and tracking is sent by the player. So tracking, click and error URLs of an
upstream's document reach the player exactly as they came. Of the server's own, the error URL holds `[ERRORCODE]` for
the player to fill in; the others hold no macro, since their tokens say everything. VMAP's `[ERROR_CODE]` is not used.

When the server follows Wrappers itself (`unwrap=1`), it is the one who calls the `Error` URLs of a chain that failed,
and fills in `[ERRORCODE]` and the macros above.

This page is written by `make docs` from `app/vast/macro_sources.py`.
"""


def page() -> str:
    """The page as it is to stand in docs/macros.md."""
    bracketed = "".join(_row(f"[{name}]", source) for name, source in BRACKETED.items())
    braced = "".join(_row(f"{{{name}}}", source) for name, source in BRACED.items())
    return HEAD + bracketed + FIELDS + braced + TAIL


def _row(macro: str, source: Source) -> str:
    withheld = f"`{WITHHELD}`" if source.identifies else ""
    unknown = f"`{UNKNOWN}`" if expand(macro, NOTHING_KNOWN, {"tmax": "250"}) == UNKNOWN else ""
    return f"| `{macro}` | {source.said} | {unknown} | {withheld} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
