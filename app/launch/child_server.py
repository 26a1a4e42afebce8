"""An HTTP server in a process of its own; its standard input is a socket to its launcher, if it has one."""

import asyncio
import os
import socket
import stat

import uvicorn

LAUNCHER = 0
READY = b"r"


class LaunchedServer(uvicorn.Server):
    """Tells its launcher when it serves, and stops when the launcher is gone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the application and the sockets, as uvicorn does."""
        launched = stat.S_ISSOCK(os.fstat(LAUNCHER).st_mode)
        if launched:
            asyncio.get_running_loop().add_reader(LAUNCHER, self._launcher_gone)
        await super().startup(sockets)
        if launched:
            os.write(LAUNCHER, READY)

    def _launcher_gone(self) -> None:
        """The launcher never writes: what can be read is the end."""
        asyncio.get_running_loop().remove_reader(LAUNCHER)
        self.should_exit = True
