"""Beacons: counted in groups, and settled into spend."""
