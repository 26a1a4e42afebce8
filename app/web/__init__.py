"""The HTTP edge: endpoints for players, stitchers, beacons, sessions and operators, and what they share."""
