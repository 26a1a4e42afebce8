"""Child programs that receive a signal when their parent process ends, even by SIGKILL, so that none is orphaned.

Only Linux supports this (PR_SET_PDEATHSIG, prctl(2)). The child process sets it up before it executes the program,
because Python cannot safely run code between fork and exec in a process with threads. This module imports only the
standard library, because it delays the start of each program.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
EXIT_PARENT_ENDED = 1


def bound_command(
    command: Sequence[str], parent_death_signal: signal.Signals, *, uid: int | None = None, gid: int | None = None
) -> list[str]:
    """Return a command that runs the given one with the signal to be sent when the calling thread or its process ends.

    Root can set `uid` and `gid`, always together, to run the command as another user.
    """
    arguments = (os.getpid(), int(parent_death_signal), "" if uid is None else uid, "" if gid is None else gid)
    return [sys.executable, "-I", "-S", __file__, *map(str, arguments), *command]


def _exec_bound(parent: int, signal_number: int, uid: str, gid: str, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid:
        # Changing the user resets the signal, so it comes first.
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if libc is not None and libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(EXIT_PARENT_ENDED)
    os.execv(command[0], command)


if __name__ == "__main__":
    _, launcher, death_signal, user, group, *program = sys.argv
    _exec_bound(int(launcher), int(death_signal), user, group, program)
