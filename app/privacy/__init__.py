"""Privacy signals of a request: pure functions from strings to a decision."""

from app.privacy.identification import identification_allowed

__all__ = ["identification_allowed"]
