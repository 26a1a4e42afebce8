"""A VAST ad server whose Postgres database cannot overspend a budget or exceed a frequency cap."""
