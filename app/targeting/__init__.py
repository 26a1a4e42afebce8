"""Targeting: what is known about a viewer and a request, and which campaigns it matches."""
