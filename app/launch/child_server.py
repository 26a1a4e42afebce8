"""An HTTP server in a process of its own. Its standard input is a socket to its launcher, if it has one."""

import asyncio
import os
import socket
import stat

import uvicorn

LAUNCHER_FD = 0
READY = b"r"


class ChildServer(uvicorn.Server):
    """Tells its launcher when it is ready, and stops when the launcher has ended."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then report readiness to the launcher."""
        has_launcher = stat.S_ISSOCK(os.fstat(LAUNCHER_FD).st_mode)
        if has_launcher:
            asyncio.get_running_loop().add_reader(LAUNCHER_FD, self._on_launcher_end)
        await super().startup(sockets)
        if has_launcher:
            os.write(LAUNCHER_FD, READY)

    def _on_launcher_end(self) -> None:
        """Stop the server. The launcher never writes, so the socket becomes readable only when it has ended."""
        asyncio.get_running_loop().remove_reader(LAUNCHER_FD)
        self.should_exit = True
