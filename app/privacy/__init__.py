"""What a request's privacy signals allow. Pure: strings in, a decision out."""

from app.privacy.identification import identification_allowed

__all__ = ["identification_allowed"]
