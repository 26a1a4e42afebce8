"""What is done with a random document, and what must hold whatever it is."""

import random
import time
from collections.abc import Callable

from lxml import etree

from app.domain import VastVersion
from app.errors import UnusableVast
from app.privacy import identification_allowed
from app.vast.own_ads import vast_document
from app.vast.parser import ParsedDocument, parse
from app.vast.schema import V1_0
from app.vast.trackers import document_with_trackers, fragments_with_trackers
from app.vast.wrapper_merge import merge_wrapper, replace_wrappers
from app.vast.wrapper_rules import admitted_ads
from tests.fuzz.documents import document, grown
from tests.unit.privacy.strings import ALPHABET, gpp, tc_string, us_section
from tests.unit.vast.conftest import BASE_URL, VALUES

TRIAL_S_MAX = 2.0
"""Of CPU, for everything that is done with one document, on a slow machine."""

ENLARGED_MAX = 60
"""An answer in relation to its document: our trackers are a few hundred bytes for each Ad and Creative."""

ALONE_MAX = 5
"""Ads of one document that are tried alone: each is the whole document again."""


class BrokenRuleError(AssertionError):
    """Something did not hold; says what."""


def trial(seed: int) -> str:
    """Runs the trial of that number; returns what came of it: `ad`, `no ad`, or `refused`.

    Raises BrokenRuleError, or whatever error was not to be raised.
    """
    chance = random.Random(seed)
    started = time.process_time()
    outcome = _strings(chance) if chance.random() < 0.1 else _document(chance)
    if (seconds := time.process_time() - started) > TRIAL_S_MAX:
        raise BrokenRuleError(f"took {seconds:.1f} s")
    return outcome


def _document(chance: random.Random) -> str:
    body = document(chance)
    try:
        parsed = parse(body)
    except UnusableVast:
        return "refused"
    _ads_alone(parsed, len(body))
    _pods(parsed, len(body))
    _unwrapping(parsed, chance)
    return "ad" if parsed.has_ad else "no ad"


def _ads_alone(parsed: ParsedDocument, size: int) -> None:
    """Each Ad is one serve, so it leaves with no other."""
    for position in range(min(len(parsed.ads), ALONE_MAX)):
        root = _well_formed(document_with_trackers(parsed, BASE_URL, position).render(VALUES), size)
        _expect(len(root.findall("{*}Ad")) == 1, "an answer for one serve has one Ad")


def _well_formed(answer: bytes, size: int) -> etree._Element:
    try:
        root = etree.fromstring(answer, etree.XMLParser(huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise BrokenRuleError(f"answer is not well-formed: {error}") from error
    if root.getroottree().docinfo.doctype:
        raise BrokenRuleError("answer has a DOCTYPE")
    if len(answer) > ENLARGED_MAX * (size + 1000):
        raise BrokenRuleError(f"{size} bytes became {len(answer)}")
    return root


def _pods(parsed: ParsedDocument, size: int) -> None:
    for version in VastVersion:
        if version >= parsed.version and parsed.schema is not V1_0:
            ads = [fragment.render(VALUES) for fragment in fragments_with_trackers(parsed, BASE_URL, version)]
            root = _well_formed(vast_document(version, ads), size)
            _expect(len(root.findall("{*}Ad")) == len(parsed.ads), "a pod has an Ad for each serve")


def _unwrapping(parsed: ParsedDocument, chance: random.Random) -> None:
    """As a Wrapper's answer, and with answers in the places of its own Wrappers."""
    try:
        other = parse(grown(chance))
        for outer, answer in ((parsed, other), (other, parsed)):
            unwrapped = {}
            for wrapper in (ad for ad in outer.ads if ad.is_wrapper):
                ads = [ad for ad in admitted_ads(wrapper, answer) if not ad.is_wrapper]
                inlines = replace_wrappers(answer, ads, {})
                unwrapped[wrapper] = merge_wrapper(outer, wrapper, inlines, inlines.ads)
            spliced = replace_wrappers(outer, outer.ads, unwrapped)
            _expect(not any(ad.is_wrapper for ad in spliced.ads), "a Wrapper is left")
            _ads_alone(spliced, 10**6)
    except UnusableVast:
        return


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise BrokenRuleError(rule)


def _strings(chance: random.Random) -> str:
    """Consent strings, right ones with letters changed."""
    writers: tuple[Callable[[], str], ...] = (
        lambda: tc_string([1, 2], [2, 7], lists="".join(chance.choice("01") for _ in range(chance.randrange(4000)))),
        lambda: gpp({2: tc_string([1, 2]), 6: "1YNN", 7: us_section(*[2] * 12, gpc=False)}),
        lambda: "".join(chance.choice(ALPHABET + "~.!") for _ in range(chance.randrange(8192))),
    )
    text = list(chance.choice(writers)())
    for _ in range(chance.randrange(5)):
        text[chance.randrange(len(text) + 1) :][:1] = [chance.choice(ALPHABET + "~.ü")]
    signals = {
        name: "".join(text) for name in ("gdpr_consent", "gpp", "us_privacy", "gpp_sid") if chance.random() < 0.5
    }
    _expect(identification_allowed(signals) in (True, False), "no decision")
    return "refused"
