"""Limits that several layers share."""

from decimal import Decimal

URL_BYTES_MAX = 16_384
"""UTF-8 bytes of a URL, in a campaign file or in a fetched document."""

ID_LENGTH_MAX = 128
"""Characters of an id, in a campaign file or in a request."""

POD_SIZE_MAX = 20
"""Ads in one response."""

DURATION_MAX_S = 21_600
"""Seconds of a creative, of a pod, or of the duration that a request allows."""

AMOUNT_MAX = Decimal(10) ** 12
"""Exclusive limit of an amount of money, which is stored as numeric(18,6)."""

BUDGET_IMPRESSIONS_MAX = 1_000_000_000_000
"""Impressions in one budget."""
