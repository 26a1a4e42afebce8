"""The campaign file: reading it, holding it against the database, applying it, and writing it."""
