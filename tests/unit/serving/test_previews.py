from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from lxml import etree

from app.domain import ID_LENGTH_MAX, Advertiser, Catalog, Creative, Event, VastVersion
from app.errors import Gone, InvalidRequest, NotFound
from app.serving.previews import PREVIEW_TTL_S, PreviewLinks, Previews, find_creative
from app.serving.tokens import TokenSigner
from tests.unit.vast.creatives import ADVERTISER, CAMPAIGN, PLAIN

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
BASE = "https://ads.example"
DESTINATION = "https://acme.example/"
FILM = replace(PLAIN, id="film", click_through=DESTINATION)
ADVERTISERS = {CAMPAIGN.advertiser: Advertiser(CAMPAIGN.advertiser, ADVERTISER)}
CATALOG = Catalog(1, None, {CAMPAIGN.id: CAMPAIGN}, {CAMPAIGN.id: (PLAIN, FILM)}, {}, {}, {}, ADVERTISERS)

links = PreviewLinks(["secret"], BASE)
signer = TokenSigner(["secret"], 604_800)


def token_of(made_by: PreviewLinks = links, creative: Creative = FILM) -> str:
    url = made_by.link(creative, VastVersion.V3_0, NOW).url
    assert url.startswith(f"{BASE}/preview?t=")
    return url.partition("?t=")[2]


def test_a_link_says_which_creative_it_shows_and_in_which_version() -> None:
    assert links.read(token_of(), NOW) == (CAMPAIGN.id, "film", VastVersion.V3_0)


def test_a_link_is_good_until_it_expires_and_not_a_second_longer() -> None:
    expires_at = links.link(FILM, VastVersion.V3_0, NOW).expires_at
    assert expires_at == NOW.replace(microsecond=0) + timedelta(seconds=PREVIEW_TTL_S)
    assert links.read(token_of(), expires_at - timedelta(microseconds=1))
    with pytest.raises(Gone):
        links.read(token_of(), expires_at)


def test_no_character_of_a_link_can_be_changed_or_added_or_left_out() -> None:
    token = token_of()
    for at in range(len(token)):
        for character in "Aa0_-. =é":
            altered = [token[:at] + character + token[at:], token[:at] + token[at + 1 :]]
            if token[at] != character:
                altered.append(token[:at] + character + token[at + 1 :])
            for text in altered:
                with pytest.raises(InvalidRequest):
                    links.read(text, NOW)


@pytest.mark.parametrize("text", ["", ".", "AAAA", "AAAAAAAA.0", "é", "a" * 100_000])
def test_what_is_no_token_is_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        links.read(text, NOW)
    assert refused.value.field == "t"


def test_links_of_a_retired_key_are_good_and_those_of_another_server_are_not() -> None:
    other = PreviewLinks(["another"], BASE)
    assert PreviewLinks(["another", "secret"], BASE).read(token_of(), NOW)
    with pytest.raises(InvalidRequest):
        other.read(token_of(), NOW)


def test_the_longest_ids_in_any_script_have_links() -> None:
    ids = "\U0001f3ac" * ID_LENGTH_MAX
    creative = replace(PLAIN, id=ids, campaign_id=ids)
    assert links.read(token_of(creative=creative), NOW).creative_id == ids


def test_a_preview_token_is_no_beacon_token_and_a_beacon_token_is_no_preview_token() -> None:
    tokens = signer.sign_all(UUID(int=1), 0, NOW, CAMPAIGN.id, DESTINATION)
    for event in Event:
        assert signer.read(token_of(), event) is None
        with pytest.raises(InvalidRequest):
            links.read(tokens[event], NOW)


@pytest.mark.parametrize("version", VastVersion)
def test_no_token_of_a_preview_counts_and_its_click_leads_to_the_destination(version: VastVersion) -> None:
    ref = links.read(token_of(), NOW)._replace(version=version)
    document = etree.fromstring(Previews(signer, BASE).document(ref, CATALOG))
    tokens = {text.partition("?t=")[2].partition("&")[0] for text in document.itertext() if "?t=" in text}
    assert len(tokens) > len(("impression", "error", "click"))
    for token in tokens:
        assert not [event for event in Event if signer.verify(token, event, datetime.now(UTC))]
    clicks = [click.destination for token in tokens if (click := signer.read(token, Event.CLICK)) is not None]
    assert clicks == [DESTINATION]


def test_an_ad_of_a_preview_has_an_id_of_its_own_each_time() -> None:
    ref = links.read(token_of(), NOW)
    ads = [etree.fromstring(Previews(signer, BASE).document(ref, CATALOG)).find("Ad") for _ in range(2)]
    assert len({ad.get("id") for ad in ads if ad is not None}) == 2


def test_a_creative_that_is_not_there_is_not_found() -> None:
    ref = links.read(token_of(), NOW)
    for unknown in (ref._replace(creative_id="other"), ref._replace(campaign_id="other")):
        with pytest.raises(NotFound):
            Previews(signer, BASE).document(unknown, CATALOG)
    assert find_creative(CATALOG, "film") is FILM
    with pytest.raises(NotFound):
        find_creative(CATALOG, "other")
