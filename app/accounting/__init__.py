"""Accounting: the ledger, corrections, month close, reconciliation and reports."""
