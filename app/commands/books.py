"""Commands of finance and of DBAs: the books, their proof, and their upkeep."""

import typer


def register(_app: typer.Typer) -> None:
    """Adds the commands."""
