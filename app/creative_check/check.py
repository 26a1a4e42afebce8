"""The check of creatives: all their URLs, each asked once, a few at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.creative_check.client import Answer, FileClient, NoAnswerError
from app.creative_check.rules import (
    Finding,
    Severity,
    creative_findings,
    url_findings,
)
from app.creative_check.urls import CheckedUrl, checked_urls
from app.domain import Creative

CREATIVES_TOGETHER = 16
"""Creatives that are checked together; the client limits the number of requests."""


@dataclass(frozen=True, slots=True)
class UrlReport:
    """The findings about one URL; `answer` is None if its server gave none."""

    checked: CheckedUrl
    answer: Answer | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class CreativeReport:
    """The findings about a creative and about each of its URLs."""

    creative: Creative
    findings: tuple[Finding, ...]
    urls: tuple[UrlReport, ...]

    def count(self, severity: Severity) -> int:
        """Return the number of findings of this severity."""
        findings = [*self.findings, *(finding for report in self.urls for finding in report.findings)]
        return sum(finding.severity is severity for finding in findings)


class CreativeChecker:
    """Checks creatives; a URL of several creatives is asked once."""

    def __init__(self, client: FileClient) -> None:
        self._client = client
        self._asked: dict[str, asyncio.Task[Answer]] = {}

    async def check(self, creatives: Sequence[Creative]) -> AsyncIterator[CreativeReport]:
        """Yield the report on each creative, in order."""
        for start in range(0, len(creatives), CREATIVES_TOGETHER):
            for report in await asyncio.gather(*map(self._check, creatives[start : start + CREATIVES_TOGETHER])):
                yield report

    async def _check(self, creative: Creative) -> CreativeReport:
        urls = await asyncio.gather(*(self._check_url(creative, checked) for checked in checked_urls(creative)))
        return CreativeReport(creative, tuple(creative_findings(creative)), tuple(urls))

    async def _check_url(self, creative: Creative, checked: CheckedUrl) -> UrlReport:
        if checked.url not in self._asked:
            self._asked[checked.url] = asyncio.create_task(self._client.ask(checked.url))
        try:
            answer = await self._asked[checked.url]
        except NoAnswerError as error:
            return UrlReport(checked, None, (Finding(Severity.ERROR, str(error)),))
        return UrlReport(checked, answer, tuple(url_findings(checked, answer, float(creative.duration_s))))
