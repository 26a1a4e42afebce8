import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vast.response_template import ResponseTemplate, placeholder

names = st.sampled_from(["impression", "start", "firstQuartile", "ad_serving_id", "sequence"])
values = st.text(alphabet="ABCabc019-_.", max_size=80)


@given(st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), names.map(lambda name: (name,)))))
def test_rendering_replaces_each_placeholder_by_its_value(pieces):
    template = ResponseTemplate.compile(
        "".join(placeholder(p[0]) if isinstance(p, tuple) else p for p in pieces).encode()
    )
    filled = {name: name.upper() for name in template.placeholders}
    expected = "".join(p[0].upper() if isinstance(p, tuple) else p for p in pieces)
    assert template.render(filled) == expected.encode()
    assert template.placeholders == {p[0] for p in pieces if isinstance(p, tuple)}


@given(values, values)
def test_a_name_may_have_many_placeholders_and_surplus_values_are_ignored(token, other):
    template = ResponseTemplate.compile(f"é{placeholder('start')}%s{placeholder('start')}".encode())
    assert template.render({"start": token, "pause": other}) == f"é{token}%s{token}".encode()


def test_a_placeholder_without_a_value_is_an_error():
    template = ResponseTemplate.compile(f"{placeholder('start')} {placeholder('pause')}".encode())
    with pytest.raises(KeyError):
        template.render({"start": "x"})


def test_a_document_cannot_guess_a_placeholder():
    template = ResponseTemplate.compile(b"placeholder.0123456789abcdef.start. {start} %(start)s")
    assert template.placeholders == frozenset()
    assert template.render({}) == b"placeholder.0123456789abcdef.start. {start} %(start)s"
