"""The books: holds that end, the ledger, closing, reports, and what keeps the tables in shape."""
