"""Programs that end when the process that started them ends, however that happens: kill -9 leaves no orphan.

Linux alone does that, with PR_SET_PDEATHSIG of prctl(2). It is asked for by the program's own process before it becomes
the program, because Python cannot safely run code between fork and exec in a process with threads. The standard library
is all that is imported here: each program waits for it.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 1


def bound_command(
    command: Sequence[str], parent_death_signal: signal.Signals, *, uid: int | None = None, gid: int | None = None
) -> list[str]:
    """The command with which the calling thread starts one that gets the signal when the thread's process ends.

    Linux counts the end of the thread too. `uid` and `gid`, together, are those that root starts it as.
    """
    words = (os.getpid(), int(parent_death_signal), "" if uid is None else uid, "" if gid is None else gid)
    return [sys.executable, "-I", "-S", __file__, *map(str, words), *command]


def _become(parent: int, number: int, uid: str, gid: str, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid:
        # A change of the user resets the signal, so it comes first.
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if libc is not None and libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl refuses PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit(PARENT_IS_GONE)
    os.execv(command[0], command)


if __name__ == "__main__":
    _, launcher, death_signal, user, group, *program = sys.argv
    _become(int(launcher), int(death_signal), user, group, program)
