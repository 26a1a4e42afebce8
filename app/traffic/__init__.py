"""Invalid traffic: which requests come from no viewer, as their headers tell."""
