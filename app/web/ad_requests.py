"""From checked parameters to a rendered answer: what the tag URL, the stitchers' batches and VMAP have in common."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.domain import NoFillReason, VastVersion
from app.observer import Observer
from app.serving.adserver import AdServer
from app.serving.context import open_context
from app.serving.outcomes import NoFill, Outcome
from app.vast.render import empty
from app.web.problems import status_of
from app.web.query import ad_request

IdentityCheck = Callable[[Mapping[str, str]], bool]
"""Whether a request's privacy signals allow that its user is told from others."""

NO_COOKIES: Mapping[str, str] = {}


@dataclass(slots=True)
class Answered:
    """A rendered answer: VAST, and why it is empty, if it is."""

    body: bytes
    reason: str | None
    repeat: bool

    @property
    def outcome(self) -> str:
        """The answer in a word, as metrics and logs have it."""
        return self.reason or ("repeat" if self.repeat else "served")


def no_ad(values: Mapping[str, str], reason: NoFillReason) -> Answered:
    """The answer to checked values that are not even decided on."""
    return Answered(empty(VastVersion(values.get("vast_version", VastVersion.V4_2))), reason.value, repeat=False)


class AdRequestHandler:
    """Serves one request at a time; make one for each worker."""

    def __init__(self, adserver: AdServer, may_identify: IdentityCheck) -> None:
        self._adserver = adserver
        self._may_identify = may_identify

    async def answer(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: tuple[str | None, str | None],
        cookies: Mapping[str, str] = NO_COOKIES,
        *,
        stitched: bool = False,
    ) -> Answered:
        """Serves an ad for checked values; `client` is the viewer's address and user agent.

        Raises InvalidRequest, NotFound, Gone and Conflict, as `AdServer.serve` does.
        """
        request = ad_request(values, identifiable=self._may_identify(values), stitched=stitched)
        with open_context(request_id, cookies, *client) as context:
            return _answered(await self._adserver.serve(request, context), request.vast_version)

    def ask(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: tuple[str | None, str | None],
        cookies: Mapping[str, str],
        tell: Callable[[Answered | Exception], None],
    ) -> None:
        """As `answer`, but `tell` hears the answer or the error, perhaps before this returns.

        Raises InvalidRequest for values that do not go together.
        """
        request = ad_request(values, identifiable=self._may_identify(values))
        context = open_context(request_id, cookies, *client)

        def pass_on(how: Outcome | Exception) -> None:
            context.close()
            tell(how if isinstance(how, Exception) else _answered(how, request.vast_version))

        self._adserver.take(request, context, pass_on)


def _answered(outcome: Outcome, version: VastVersion) -> Answered:
    if isinstance(outcome, NoFill):
        return Answered(empty(version), outcome.reason.value, repeat=False)
    return Answered(outcome.vast, None, outcome.repeat)


class MeteredAdRequestHandler(AdRequestHandler):
    """Tells of each request by itself, for those of which many come in one HTTP request."""

    def __init__(self, adserver: AdServer, may_identify: IdentityCheck, observer: Observer) -> None:
        super().__init__(adserver, may_identify)
        self._observer = observer

    async def answer(
        self,
        values: Mapping[str, str],
        request_id: str,
        client: tuple[str | None, str | None],
        cookies: Mapping[str, str] = NO_COOKIES,
        *,
        stitched: bool = False,
    ) -> Answered:
        """As of AdRequestHandler."""
        started = time.perf_counter()
        try:
            answered = await super().answer(values, request_id, client, cookies, stitched=stitched)
        except Exception as error:
            self._observer.request_finished(request_id, status_of(error), "error", time.perf_counter() - started)
            raise
        self._observer.request_finished(request_id, 200, answered.outcome, time.perf_counter() - started)
        return answered
