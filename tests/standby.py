"""A test's own database as a standby has it, and as it is when the standby has become the primary."""

from sqlalchemy.engine import make_url

from tests.players import connected


async def set_standby(url: str, *, standby: bool) -> None:
    """Whoever connects from now on can only read, or can write again; `url` is the owner's."""
    async with connected(url) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(
            f'ALTER DATABASE "{make_url(url).database}" SET default_transaction_read_only = {standby}'
        )
