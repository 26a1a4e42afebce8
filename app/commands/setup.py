"""Commands of ad operations: what campaigns there are, and why one did not serve."""

import typer


def register(_app: typer.Typer) -> None:
    """Adds the commands."""
