import time

import pytest

from app.domain import VastVersion
from app.errors import UnusableVast
from app.vast import limits
from app.vast.parser import ADS_MAX, BODY_BYTES_MAX, CREATIVES_MAX, parse
from tests.unit.vast.conftest import SAMPLES, needs_reference
from tests.unit.vast.documents import inline, wrapper


def entity_bomb(reference: str) -> bytes:
    entities = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    return f"<!DOCTYPE VAST [{entities}]>{reference}".encode()


UNUSABLE = {
    "no XML": b"no ad today",
    "HTML": b"<!DOCTYPE html><html><body>503</body></html>",
    "XHTML": b"<html xmlns='http://www.w3.org/1999/xhtml'><body/></html>",
    "JSON": b'{"VAST": {}}',
    "cut off": inline()[:-20],
    "another root": b"<vmap:VMAP xmlns:vmap='http://www.iab.net/videosuite/vmap' version='1.0'/>",
    "two roots": b"<VAST version='4.2'/><VAST version='4.2'/>",
    "a DOCTYPE": b"<!DOCTYPE VAST>" + inline(),
    "a DOCTYPE after a comment": b"<!-- - --><?a b?><!DOCTYPE VAST SYSTEM 'http://127.0.0.1:9/x'>" + inline(),
    "an entity bomb in text": entity_bomb("<VAST version='2.0'>&a11;</VAST>"),
    "an entity bomb in an attribute": entity_bomb("<VAST version='&a11;'/>"),
    "an external entity": b'<!DOCTYPE VAST [<!ENTITY a SYSTEM "file:///etc/passwd">]><VAST version="2.0">&a;</VAST>',
    "a parameter entity": b'<!DOCTYPE VAST [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><VAST version="2.0"/>',
    "an undefined entity": b"<VAST version='2.0'>&nbsp;</VAST>",
    "a NUL": b"<VAST version='2.0'>\x00</VAST>",
    "an escaped NUL": b"<VAST version='2.0'>&#0;</VAST>",
    "bytes that are no UTF-8": b"<VAST version='2.0'>\xff\xfe</VAST>",
    "an unknown encoding": b"<?xml version='1.0' encoding='nonsense'?><VAST version='2.0'/>",
    "too deep": b"<VAST version='2.0'>" + b"<a>" * 300 + b"</a>" * 300 + b"</VAST>",
    "too large": b"<VAST version='2.0'>" + b" " * BODY_BYTES_MAX + b"</VAST>",
    "a repeated attribute": b"<VAST version='2.0' version='3.0'/>",
    "an undeclared prefix": b"<v:VAST version='4.2'/>",
    "too many ads": b"<VAST version='2.0'>" + b"<Ad><InLine/></Ad>" * (ADS_MAX + 1) + b"</VAST>",
    "too many creatives": inline(children="<Creatives>" + "<Creative/>" * CREATIVES_MAX + "</Creatives>"),
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_documents_are_refused_immediately(body):
    started = time.process_time()
    for _ in range(2):
        with pytest.raises(UnusableVast):
            parse(body)
    assert time.process_time() - started < 1


def test_a_doctype_is_found_after_parsing_too(monkeypatch):
    monkeypatch.setattr(limits, "check_limits", lambda body: None)
    with pytest.raises(UnusableVast, match="DOCTYPE"):
        parse(b"<!DOCTYPE VAST>" + inline())


def test_entities_are_not_read_from_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    body = f'<!DOCTYPE VAST [<!ENTITY a SYSTEM "{secret.as_uri()}">]><VAST version="2.0"><Error>&a;</Error></VAST>'
    with pytest.raises(UnusableVast) as caught:
        parse(body.encode())
    assert "DOCTYPE" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"<VAST version='4.2'/>",
        b"<VAST version='4.2' xmlns='http://www.iab.com/VAST'></VAST>",
        b"<VAST version='3.0'><!-- nothing --><Error>http://e.example</Error></VAST>",
        b"<VAST version='2.0'><Ad id='1'></Ad></VAST>",
        b"<VAST version='2.0'><Ad id='1'><InLine><AdTitle>t</AdTitle></InLine></Ad></VAST>",
        b"<VAST version='4.2'><Ad><Wrapper><VASTAdTagURI><![CDATA[ ]]></VASTAdTagURI></Wrapper></Ad></VAST>",
        b"<VAST/>",
    ],
)
def test_a_document_without_an_ad_is_vast_and_says_so(body):
    assert parse(body).has_ad is False


def test_the_errors_of_the_root_are_for_when_there_is_no_ad():
    parsed = parse(b"<VAST version='4.2'><Error> a </Error><Error><![CDATA[\nb\n]]></Error><Error/></VAST>")
    assert parsed.error_urls == ("a", "b")


@pytest.mark.parametrize(
    ("root", "version"),
    [
        ("<VAST version='2.0'/>", VastVersion.V2_0),
        ("<VAST version=' 2.0.1 '/>", VastVersion.V2_0),
        ("<VAST version='3.0'/>", VastVersion.V3_0),
        ("<VAST version='4.0'/>", VastVersion.V4_0),
        ("<VAST version='4.1' xmlns='http://www.iab.com/VAST'/>", VastVersion.V4_1),
        ("<VAST version='4.3'/>", VastVersion.V4_2),
        ("<VAST version='4'/>", VastVersion.V4_2),
        ("<VAST xmlns='http://www.iab.com/VAST'/>", VastVersion.V4_2),
        ("<VAST/>", VastVersion.V3_0),
        ("<VAST version='latest'/>", VastVersion.V3_0),
        ("<VideoAdServingTemplate/>", VastVersion.V2_0),
    ],
)
def test_the_version_is_the_nearest_one_known(root, version):
    assert parse(root.encode()).version is version


def test_facts_of_an_inline():
    ad = 'id="x" sequence=" 2 "'
    children = "<Advertiser> Acme </Advertiser><Error>e1</Error><Error><!-- c -->e2</Error>"
    facts = parse(inline(ad=ad, children=children)).ads[0]
    assert (facts.id, facts.sequence, facts.is_wrapper) == ("x", 2, False)
    assert facts.advertiser == "Acme"
    assert facts.error_urls == ("e1", "e2")
    assert facts.duration_s == 15.0
    assert facts.tag_uri is None


@pytest.mark.parametrize(
    ("creative", "ids"),
    [
        ('<Creative id="a"/>', ("a",)),
        ('<Creative id="a" AdID="b"/>', ("b",)),
        ('<Creative id="a" adId="b"><UniversalAdId idRegistry="r">c</UniversalAdId></Creative>', ("c",)),
        ('<Creative id="a"><UniversalAdId idRegistry="r">unknown</UniversalAdId></Creative>', ("a",)),
        ('<Creative id="a"><UniversalAdId idRegistry="r" idValue="c"/></Creative>', ("c",)),
        ('<Creative id="a"><UniversalAdId idRegistry="r" idValue=" c "> </UniversalAdId></Creative>', ("c",)),
        ('<Creative id="a"><UniversalAdId idRegistry="r" idValue="no">c</UniversalAdId></Creative>', ("c",)),
        ('<Creative id="a"><UniversalAdId idRegistry="r" idValue="unknown"/></Creative>', ("a",)),
        ('<Creative id="a"/><Creative id="a"/><Creative id="b"/><Creative/>', ("a", "b")),
    ],
)
def test_creatives_go_by_the_most_universal_id_they_have(creative, ids):
    body = f"<VAST version='4.2'><Ad><InLine><Creatives>{creative}</Creatives></InLine></Ad></VAST>"
    assert parse(body.encode()).ads[0].creative_ids == ids


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("00:00:15", 15.0),
        ("<![CDATA[ 01:01:01.500 ]]>", 3661.5),
        ("0:00:07", 7.0),
        ("15", 15.0),
        ("", None),
        ("00:00:1\N{ARABIC-INDIC DIGIT FIVE}", None),
    ],
)
def test_durations(text, duration_s):
    body = inline().decode().replace("00:00:15", text)
    assert parse(body.encode()).ads[0].duration_s == duration_s


def test_the_length_of_an_ad_is_unknown_when_one_of_its_linears_does_not_say():
    more = "</Linear></Creative><Creative><Linear><Duration>{}</Duration>"
    for duration, expected in [("00:00:05", 20.0), ("soon", None)]:
        assert parse(inline(linear=more.format(duration))).ads[0].duration_s == expected
    assert parse(inline().replace(b"Linear>", b"NonLinearAds>")).ads[0].duration_s is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", (True, False, False)),
        ('followAdditionalWrappers="false" allowMultipleAds="true" fallbackOnNoAd="true"', (False, True, True)),
        ('followAdditionalWrappers="0" allowMultipleAds="1" fallbackOnNoAd="1"', (False, True, True)),
        ('followAdditionalWrappers="FALSE" allowMultipleAds=" True "', (False, True, False)),
        ('followAdditionalWrappers="no" allowMultipleAds="yes" fallbackOnNoAd=""', (True, False, False)),
    ],
)
def test_facts_of_a_wrapper(flags, expected):
    facts = parse(wrapper(flags=flags, uri="https://next.example/?a=1&b=[CACHEBUSTING]")).ads[0]
    assert facts.is_wrapper
    assert facts.tag_uri == "https://next.example/?a=1&b=[CACHEBUSTING]"
    assert (facts.follow_additional_wrappers, facts.allow_multiple_ads, facts.fallback_on_no_ad) == expected


def test_vast_1_has_its_own_name_for_the_tag_url():
    wrapper_1 = "<Ad><Wrapper><VASTAdTagURL><URL>u</URL></VASTAdTagURL></Wrapper></Ad>"
    assert parse(f"<VideoAdServingTemplate>{wrapper_1}</VideoAdServingTemplate>".encode()).ads[0].tag_uri == "u"


def test_any_prefix_will_do():
    ad = "<v:Ad><v:InLine><v:Error>e</v:Error></v:InLine></v:Ad>"
    assert parse(f"<v:VAST xmlns:v='http://www.iab.com/VAST' version='4.2'>{ad}</v:VAST>".encode()).ads[
        0
    ].error_urls == ("e",)


def test_what_an_extension_says_is_not_taken_for_vast():
    extension = "<Extensions><Extension><o:Error xmlns:o='urn:other'>no</o:Error></Extension></Extensions>"
    assert parse(inline(children=extension + "<o:Error xmlns:o='urn:other'>no</o:Error>")).ads[0].error_urls == ()


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1", "windows-1252", "US-ASCII"])
def test_declared_encodings_are_read_right(encoding):
    text = "Müller" if encoding != "US-ASCII" else "Mueller"
    body = f'<?xml version="1.0" encoding="{encoding}"?>' + inline(children=f"<Advertiser>{text}</Advertiser>").decode()
    assert parse(body.encode(encoding)).ads[0].advertiser == text


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n  ", b"\r\n"])
def test_a_byte_order_mark_or_white_space_in_front_is_forgiven(before):
    assert parse(before + b'<?xml version="1.0" encoding="UTF-8"?>' + inline()).has_ad


@needs_reference
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_has_an_ad(path):
    assert parse(path.read_bytes()).has_ad
