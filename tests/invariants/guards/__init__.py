"""Each guard of an invariant, the change that removes it, and the test that fails without it.

The guards are listed in the order of docs/invariants.md.
"""

from tests.invariants.guards.abuse import ABUSE_GUARDS
from tests.invariants.guards.beacons import BEACONS_GUARDS
from tests.invariants.guards.budgets import BUDGETS_GUARDS
from tests.invariants.guards.caps import CAPS_GUARDS
from tests.invariants.guards.connections import CONNECTIONS_GUARDS
from tests.invariants.guards.deadlines import DEADLINES_GUARDS
from tests.invariants.guards.events import ADDRESS_GUARDS, EVENTS_GUARDS
from tests.invariants.guards.guard import Guard
from tests.invariants.guards.invoices import INVOICES_GUARDS
from tests.invariants.guards.ledger import LEDGER_GUARDS
from tests.invariants.guards.orders import ORDERS_GUARDS
from tests.invariants.guards.pods import PODS_GUARDS
from tests.invariants.guards.prices import PRICES_GUARDS
from tests.invariants.guards.repeats import REPEATS_GUARDS
from tests.invariants.guards.serves import SERVES_GUARDS
from tests.invariants.guards.setup_history import SETUP_HISTORY_GUARDS
from tests.invariants.guards.targeting import TARGETING_GUARDS
from tests.invariants.guards.traffic import TRAFFIC_GUARDS

__all__ = ["GUARDS", "Guard"]

GUARDS = [
    *BUDGETS_GUARDS,
    *LEDGER_GUARDS,
    *ORDERS_GUARDS,
    *INVOICES_GUARDS,
    *SERVES_GUARDS,
    *REPEATS_GUARDS,
    *CAPS_GUARDS,
    *BEACONS_GUARDS,
    *CONNECTIONS_GUARDS,
    *DEADLINES_GUARDS,
    *ABUSE_GUARDS,
    *TRAFFIC_GUARDS,
    *ADDRESS_GUARDS,
    *EVENTS_GUARDS,
    *SETUP_HISTORY_GUARDS,
    *TARGETING_GUARDS,
    *PRICES_GUARDS,
    *PODS_GUARDS,
]
