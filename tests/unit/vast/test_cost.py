from app.domain import Event
from app.vast.parser import parse
from app.vast.trackers import document_with_trackers
from bench.vast_documents import BASE_URL, VALUES, document, seconds_per_call


def test_rendering_a_compiled_document_is_at_least_20_times_cheaper_than_parsing_it_again() -> None:
    body = document()
    compiled = document_with_trackers(parse(body), BASE_URL)
    assert compiled.placeholders >= {Event.IMPRESSION, Event.COMPLETE, "ad_serving_id"}
    anew = min(seconds_per_call(lambda: document_with_trackers(parse(body), BASE_URL).render(VALUES)) for _ in range(3))
    filled = min(seconds_per_call(lambda: compiled.render(VALUES)) for _ in range(3))
    assert anew > 20 * filled
