"""Answers ad requests: from checked parameters to a VAST document, for the tag URL, batches and VMAP."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from app.domain import Client, NoFillReason, VastVersion
from app.observer import Observer
from app.serving.adserver import AdServer
from app.serving.context import open_context
from app.serving.outcomes import NoFill, Outcome, wait_for_outcome
from app.vast.own_ads import empty_document
from app.web.problems import status_of
from app.web.query import ad_request

IdentityCheck = Callable[[Mapping[str, str]], bool]
"""Returns whether a request's privacy signals allow its user to be identified."""

NO_COOKIES: Mapping[str, str] = {}


@dataclass(slots=True)
class Answer:
    """A VAST document, and the reason why it is empty, if it is."""

    body: bytes
    reason: str | None
    repeat: bool

    @property
    def outcome(self) -> str:
        """The outcome for metrics and logs: `served`, `repeat` or a no-fill reason."""
        return self.reason or ("repeat" if self.repeat else "served")


def no_ad(values: Mapping[str, str], reason: NoFillReason) -> Answer:
    """Return the answer to a request that is declined without being decided."""
    return Answer(empty_document(VastVersion(values.get("vast_version", VastVersion.V4_2))), reason.value, repeat=False)


class AdRequestHandler:
    """Serves ad requests with one worker's ad server."""

    def __init__(self, adserver: AdServer, may_identify: IdentityCheck) -> None:
        self._adserver = adserver
        self._may_identify = may_identify

    async def answer(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: Client,
        cookies: Mapping[str, str] = NO_COOKIES,
        *,
        stitched: bool = False,
    ) -> Answer:
        """Return the answer to checked values; `client` is the viewer's end.

        Raise InvalidRequest, NotFound, Gone or Conflict, as `AdServer.submit` reports them. A canceled call abandons
        the request.
        """
        request = ad_request(values, identifiable=self._may_identify(values), stitched=stitched)
        with open_context(request_id, cookies, client) as context:
            outcome = await wait_for_outcome(partial(self._adserver.submit, request, context))
        return _answer(outcome, request.vast_version)

    def handle(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: Client,
        cookies: Mapping[str, str],
        on_done: Callable[[Answer | Exception], None],
    ) -> None:
        """Call `on_done` with the answer or the error, possibly before this returns.

        Raise InvalidRequest for values that contradict each other.
        """
        request = ad_request(values, identifiable=self._may_identify(values))
        context = open_context(request_id, cookies, client)

        def forward(result: Outcome | Exception) -> None:
            context.close()
            on_done(result if isinstance(result, Exception) else _answer(result, request.vast_version))

        self._adserver.submit(request, context, forward)


def _answer(outcome: Outcome, version: VastVersion) -> Answer:
    if isinstance(outcome, NoFill):
        return Answer(empty_document(version), outcome.reason.value, repeat=False)
    return Answer(outcome.vast, None, outcome.repeat)


class MeteredAdRequestHandler(AdRequestHandler):
    """Reports each ad request to an observer, where one HTTP request has several of them."""

    def __init__(self, adserver: AdServer, may_identify: IdentityCheck, observer: Observer) -> None:
        super().__init__(adserver, may_identify)
        self._observer = observer

    async def answer(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: Client,
        cookies: Mapping[str, str] = NO_COOKIES,
        *,
        stitched: bool = False,
    ) -> Answer:
        """Do the same as AdRequestHandler.answer, and report it."""
        started = time.perf_counter()
        try:
            answer = await super().answer(values, request_id, client, cookies, stitched=stitched)
        except Exception as error:
            seconds = time.perf_counter() - started
            self._observer.request_finished(request_id, status_of(error), "error", seconds, values, client)
            raise
        self._observer.request_finished(request_id, 200, answer.outcome, time.perf_counter() - started, values, client)
        return answer
