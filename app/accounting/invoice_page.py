"""The printable page of an invoice: plain HTML that needs no script, font or other file."""

from collections.abc import Mapping, Sequence

from lxml import html
from lxml.html import HtmlElement
from lxml.html import builder as tags

STYLE = """
body { font: 11pt/1.4 system-ui, sans-serif; color: #000; background: #fff; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; }
dt { font-weight: 600; }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #767676; text-align: left; vertical-align: top; }
th, td { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.total { font-weight: 700; }
@media print {
  @page { margin: 18mm; }
  body { max-width: none; margin: 0; padding: 0; font-size: 9pt; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
}
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of the page: even if a name got through as markup, it could load and run nothing."""

TEXT_COLUMNS = 2
"""The first columns of the lines are text, the others numbers."""


def render_page(
    title: str,
    head: Mapping[str, str],
    lines: tuple[Sequence[str], Sequence[Sequence[str]]],
    totals: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Return the page. The text of names is isolated, so that a right-to-left name does not reorder the figures."""
    heading = f"{title} {head['Number']}"
    document = tags.HTML(
        tags.HEAD(
            tags.META(charset="utf-8"),
            tags.META({"http-equiv": "Content-Security-Policy", "content": POLICY}),
            tags.META(name="viewport", content="width=device-width, initial-scale=1"),
            tags.TITLE(heading),
            tags.STYLE(STYLE),
        ),
        tags.BODY(
            tags.E.main(
                tags.H1(heading),
                tags.DL(*(part for label, text in head.items() for part in (tags.DT(label), tags.DD(_isolated(text))))),
                _table(*lines, totals),
                *(tags.P(note) for note in notes),
            )
        ),
        lang="en",
    )
    page: str = html.tostring(document, doctype="<!DOCTYPE html>", encoding="unicode", pretty_print=True)
    return page


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], totals: Mapping[str, str]) -> HtmlElement:
    *labels, last = totals
    head = [tags.TH(name, {"scope": "col"} | _number(index)) for index, name in enumerate(columns)]
    body = [tags.TR(*(_cell(index, text) for index, text in enumerate(row))) for row in rows]
    foot = [
        tags.TR(
            tags.TH(label, scope="row", colspan=str(len(columns) - 1), **{"class": "number"}),
            tags.TD(totals[label], **{"class": "number total" if label == last else "number"}),
        )
        for label in (*labels, last)
    ]
    return tags.TABLE(tags.CAPTION("Lines"), tags.THEAD(tags.TR(*head)), tags.TBODY(*body), tags.TFOOT(*foot))


def _cell(index: int, text: str) -> HtmlElement:
    if index == 0:
        return tags.TH(_isolated(text), scope="row")
    return tags.TD(text if index >= TEXT_COLUMNS else _isolated(text), _number(index))


def _number(index: int) -> dict[str, str]:
    return {"class": "number"} if index >= TEXT_COLUMNS else {}


def _isolated(text: str) -> HtmlElement:
    """Return the text in an element of its own; characters that HTML does not allow are replaced."""
    return tags.E.bdi("".join(char if _is_allowed(char) else "\ufffd" for char in text))


def _is_allowed(char: str) -> bool:
    return char in "\t\n" or (
        char >= " " and not "\x7f" <= char <= "\x9f" and not "\ud800" <= char <= "\udfff" and char not in "\ufffe\uffff"
    )
