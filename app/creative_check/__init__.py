"""Checks of creatives: the answers that players would get from their URLs, and what players do not take."""
