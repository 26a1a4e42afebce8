"""Why an upstream's answer was refused can be observer, in few words and without anything of a viewer."""

import gzip

import pytest
from structlog.testing import capture_logs

from app.domain import Upstream
from app.errors import UpstreamFailed
from app.upstreams.refusals import DETAIL_LENGTH_MAX, Refusals
from tests.faults import upstream_server as faults
from tests.faults.upstream_server import UpstreamServer, answer, inline
from tests.unit.upstreams.conftest import Harness

TAG = "{url}/?user=viewer-1"


@pytest.mark.parametrize(
    ("behavior", "kind", "detail"),
    [
        (answer(b"", "503 Service Unavailable"), "status", "503"),
        (answer(b" " * 3000), "too_large", "more than 2000 bytes"),
        (answer(gzip.compress(inline())[:-9], headers=["Content-Encoding: gzip"]), "malformed", "truncated"),
        (answer(b"<html>viewer-1</html>"), "malformed", "no"),
        (faults.redirect("http://10.0.0.1/?user=viewer-1"), "forbidden_address", "ADSERVER_ALLOWED_NETWORKS"),
        (faults.reset_in_body, "reset", ""),
    ],
)
async def test_the_last_refusal_is_kept_and_logged_without_the_viewer(
    harness: Harness, upstream: UpstreamServer, behavior: faults.Behavior, kind: str, detail: str
) -> None:
    upstream.behavior = behavior
    tag = TAG.replace("{url}", upstream.url)
    with capture_logs() as logs, pytest.raises(UpstreamFailed):
        await harness.fetch(Upstream("primary", tag, timeout_ms=5000, max_body_bytes=2000))
    refusal = harness.requester.refusals.last["primary"]
    assert refusal.kind == kind
    assert detail in refusal.detail
    (line,) = (line for line in logs if line["event"] == "upstream_refused")
    assert (line["upstream_id"], line["kind"], line["detail"]) == ("primary", kind, refusal.detail)
    assert "viewer-1" not in str(logs)


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamFailed("primary", "no_ad"),
        UpstreamFailed("primary", "breaker_open"),
        UpstreamFailed("primary", "short_deadline"),
    ],
)
def test_what_says_nothing_of_an_upstream_is_no_refusal(failure: UpstreamFailed) -> None:
    refusals = Refusals()
    refusals.record(UpstreamFailed("primary", "status", "404"))
    refusals.record(failure)
    assert refusals.last["primary"].detail == "404"


def test_the_detail_is_bounded_and_many_refusals_are_one_line() -> None:
    refusals = Refusals()
    with capture_logs() as logs:
        for index in range(1000):
            refusals.record(UpstreamFailed("primary", "malformed", str(index) * 1000))
        refusals.record(UpstreamFailed("other", "malformed", "x"))
    assert [line["upstream_id"] for line in logs] == ["primary", "other"]
    assert refusals.last["primary"].detail == ("999" * 1000)[:DETAIL_LENGTH_MAX]
