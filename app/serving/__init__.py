"""Serving: decides ad requests, and serves them in groups, each in one transaction."""
