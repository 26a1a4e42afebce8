"""The schedule of retries, as the Standard Webhooks specification recommends: exponential, with jitter."""

import random
from dataclasses import dataclass

FAILING_AFTER_S = 86_400
"""Seconds of failed attempts after which a webhook counts as failing."""

JITTER = 0.2
"""Part by which a delay varies, so that many webhooks of one receiver do not return together."""


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The delays after failed attempts."""

    first_s: float = 5.0
    max_s: float = 3600.0

    def delay_s(self, failed_attempts: int) -> float:
        """Return the delay after this number of failed attempts, which is at least 1."""
        # The exponent is bounded, because a float is.
        delay_s = min(self.first_s * 2.0 ** min(failed_attempts - 1, 32), self.max_s)
        return delay_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
