"""`python -m tests.fuzz SECONDS`: trials one after the other, until the time is over or a rule is broken."""

import argparse
import resource
import sys
import time
from collections import Counter

from tests.fuzz.trials import BrokenRuleError, trial

REPORT_S = 60
MEMORY_MB_MAX = 500


def main() -> None:
    """Ends with the error of the trial that broke a rule, if one did; that trial can be run again alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("--first", type=int, default=time.time_ns() // 1000, help="number of the first trial")
    parser.add_argument("--trial", type=int, help="run this trial alone")
    asked = parser.parse_args()
    if asked.trial is not None:
        sys.stdout.write(f"{trial(asked.trial)}\n")
    else:
        _run(asked.seconds, asked.first)


def _run(seconds: int, number: int) -> None:
    outcomes: Counter[str] = Counter()
    started = reported = time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        try:
            outcomes[trial(number)] += 1
        except Exception as error:
            error.add_note(f"again: python -m tests.fuzz --trial {number}")
            raise
        number += 1
        if now - reported >= REPORT_S:
            reported = now
            _report(outcomes, now - started)
    _report(outcomes, time.monotonic() - started)


def _report(outcomes: Counter[str], seconds: float) -> None:
    """How far it is; ends the run if memory has grown."""
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    sys.stdout.write(f"{seconds:,.0f} s: {outcomes.total():,} trials ({counted}); at most {memory_mb} MB\n")
    sys.stdout.flush()
    if memory_mb > MEMORY_MB_MAX:
        raise BrokenRuleError(f"{memory_mb} MB were in use")


if __name__ == "__main__":
    main()
