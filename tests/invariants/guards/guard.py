"""A guard of an invariant, and the paths that the lists of guards share."""

from dataclasses import dataclass

SERVING_TABLES = "migrations/versions/0004_serving_tables.py"
TRIGGERS = "migrations/versions/0006_functions_and_triggers.py"
HOLDS = "app/store/holds.py"
TRANSACTION = "app/serving/transaction.py"
TOKENS = "app/serving/tokens.py"
CONNECTIONS = "app/store/connections.py"
PARAMETERS = "app/web/parameters.py"
LIMITS_TEST = "tests/invariants/test_limits.py"
ONCE_TEST = "tests/invariants/test_once.py"
EVERY_AD_TEST = "tests/invariants/test_every_ad.py"
HOLDS_TEST = "tests/integration/accounting/test_holds.py"
TOKENS_TEST = "tests/unit/serving/test_tokens.py"
PARAMETERS_TEST = "tests/unit/web/test_parameters.py"


@dataclass(frozen=True)
class Guard:
    """`text` is in `file` exactly once; with `instead` in its place the guard is gone, and `test` fails."""

    rule: str
    name: str
    file: str
    text: str
    instead: str
    test: str
