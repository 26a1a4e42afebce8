"""Make a test's own database behave like a standby, and like a primary again."""

from sqlalchemy.engine import make_url

from tests.players import connected


async def set_standby(url: str, *, standby: bool) -> None:
    """Make new connections to the database read-only, or writable again; `url` is the owner's."""
    async with connected(url) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(
            f'ALTER DATABASE "{make_url(url).database}" SET default_transaction_read_only = {standby}'
        )
