"""Beacons: counted in batches, and settled into money."""
