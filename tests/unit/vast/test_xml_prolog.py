"""What stands before a document, in every order and encoding."""

from itertools import permutations

import pytest

from app.errors import NoAd, UnusableVast
from app.vast.parser import parse
from tests.unit.vast.documents import inline

DECLARED = '<?xml version="1.0" encoding="{}"?>\n'
VAST = '<VAST version="3.0"><Ad id="ü"><InLine><Creatives/></InLine></Ad></VAST>'
MARK, LINE = "\ufeff", "\r\n"
ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be"]

LEADS = sorted({"".join(order) for size in range(5) for order in permutations([MARK, LINE, " \t", MARK], size)})


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("declared", ["", "UTF-8", "UTF-16"])
@pytest.mark.parametrize("lead", LEADS, ids=ascii)
def test_marks_and_white_space_before_a_document_are_ignored(lead: str, declared: str, encoding: str) -> None:
    document = (DECLARED.format(declared) if declared else "") + VAST
    root = parse((lead + document).encode(encoding)).tree.getroot()
    assert [ad.get("id") for ad in root] == ["ü"]


@pytest.mark.parametrize("end", [b"\0", b"\n\0\0", b"\n \r\n"])
def test_zeros_and_white_space_behind_a_document_are_ignored(end: bytes) -> None:
    assert parse(inline() + end).tree.getroot().tag.endswith("VAST")


def test_a_comment_may_come_first() -> None:
    assert parse(b"\n<!-- ad server 7 -->\n" + VAST.encode()).tree.getroot().tag == "VAST"


NOTHING = [
    "",
    "\n",
    MARK,
    f"{MARK}\n",
    "<!-- no ads -->",
    DECLARED.format("UTF-8"),
    "<!-- a --><?b c?>\n<!-- > -->\n",
    "\0",
]
NOTHING.append(f"{LINE}{MARK}{DECLARED.format('UTF-8')}<!-- no ads -->")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("document", NOTHING, ids=ascii)
def test_a_document_without_any_element_is_no_ad(document: str, encoding: str) -> None:
    with pytest.raises(NoAd):
        parse(document.encode(encoding))


@pytest.mark.parametrize(
    "document", ["no ad", "<!-- no ads", "<!-- no ads --> none", "<!DOCTYPE VAST>", "<VAST>", "null"]
)
def test_anything_else_is_malformed(document: str) -> None:
    with pytest.raises(UnusableVast) as caught:
        parse(document.encode())
    assert not isinstance(caught.value, NoAd)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("<VAST>\n  <Ad></VAST>", "not well-formed: tag name mismatch at line 2, column 14"),
        (
            "<VAST><Error>https://t.example/?a=1&b=2</Error></VAST>",
            "not well-formed: entityref semicol missing at line 1",
        ),
        ("<VAST>&user_12345;</VAST>", "not well-formed: undeclared entity at line 1"),
        ("no ad", "not well-formed: start tag expected at line 1, column 1"),
        ("<!DOCTYPE html><html><br></html>", "has a DOCTYPE"),
        ("<!DOCTYPE VAST><VAST/>", "has a DOCTYPE"),
        ("<html/>", "root element is not VAST"),
    ],
)
def test_the_reason_says_where_and_what_and_quotes_nothing(document: str, reason: str) -> None:
    with pytest.raises(UnusableVast) as caught:
        parse(document.encode())
    assert str(caught.value).startswith(reason)
    assert "12345" not in str(caught.value)
