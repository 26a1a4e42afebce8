"""From checked parameters to a rendered answer: what the tag URL, the stitchers' batches and VMAP have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.serving.adserver import AdServer
from app.serving.answers import Answers
from app.serving.context import open_context
from app.serving.tickets import NoFill
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


class AdDesk:
    """Serves one request at a time; make one for each worker."""

    def __init__(self, adserver: AdServer, answers: Answers, may_identify: IdentityCheck) -> None:
        self._adserver = adserver
        self._answers = answers
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
            outcome = await self._adserver.serve(request, context)
        if isinstance(outcome, NoFill):
            return Answered(self._answers.no_fill(request.vast_version), outcome.reason.value, repeat=False)
        body = self._answers.vast(outcome, request.vast_version, self._adserver.catalogs.current)
        return Answered(body, None, outcome.repeat)
