"""A way to Postgres that can lose everything, without a word to either side, as a machine does that vanishes."""

import asyncio
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

CHUNK_BYTES = 65_536


class BlackHole:
    """Listens between a client and a Postgres; use it as an async context manager."""

    def __init__(self, url: str) -> None:
        """`url` is of a Postgres on a Unix socket."""
        self._url = make_url(url)
        self._socket = f"{self._url.query['host']}/.s.PGSQL.{self._url.query['port']}"
        self._silent = False
        self._ages = 0
        """The number of times that everything was lost; a connection of an earlier age stays lost."""
        self._ways: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    @property
    def url(self) -> str:
        """The same Postgres, as it is reached through here."""
        _host, port = self._server.sockets[0].getsockname()
        through = self._url.set(host="127.0.0.1", port=port, query={})
        return through.render_as_string(hide_password=False)

    def open(self) -> None:
        """Nothing comes through any more, on connections that are there and on new ones."""
        self._silent = True
        self._ages += 1

    def close(self) -> None:
        """Let new connections through again; earlier ones stay silent forever."""
        self._silent = False

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.current_task()
        assert way is not None
        self._ways.add(way)
        age = -1 if self._silent else self._ages
        theirs_reader, theirs = await asyncio.open_unix_connection(self._socket)
        try:
            await asyncio.gather(self._pass(reader, theirs, age), self._pass(theirs_reader, writer, age))
        finally:
            theirs.close()
            writer.close()
            self._ways.discard(way)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, age: int) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if age == self._ages:
                sink.write(chunk)
        if age == self._ages:
            sink.close()
