"""Run every command of docs/tutorial.md in order, and compare its output with the page."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.launched import ADSERVER, Launched, environment, free_port
from tests.postgres import temporary_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
STEP = re.compile(
    r"Save this as `(?P<name>[\w.]+)`:\n\n```toml\n(?P<content>.*?)^```$|^```console\n(?P<session>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
STARTS_THE_SERVER = "adserver run"
READY = "Press Ctrl-C to stop."
PORT = "8080"
END = "--- end of output ---"


@dataclass(frozen=True)
class Command:
    """A command line of the page, and the output that is shown below it."""

    line: str
    shown: str


def commands(session: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(line, shown)


def is_shown(shown: str, printed: str) -> bool:
    """Whether the output is as shown; `...` and the space around it replace anything."""
    pattern = ".*".join(re.escape(part) for part in re.split(r"\s*\.\.\.\s*", without_padding(shown).strip()))
    return re.fullmatch(pattern, without_padding(printed).strip(), re.DOTALL) is not None


def without_padding(text: str) -> str:
    """The text without the spaces that psql puts at the ends of lines."""
    return re.sub(r"[ \r]+$", "", text, flags=re.MULTILINE)


class Terminal:
    """A shell that starts in the checkout, as a reader opens it."""

    def __init__(self, home: Path) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env=environment() | {"HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.kill()
        self._shell.communicate()

    def run(self, line: str) -> str:
        """Run a command; return its output."""
        assert self._shell.stdin
        assert self._shell.stdout
        # A command must not read the commands after it.
        self._shell.stdin.write(f"{{ {line}\n}} </dev/null; echo; echo '{END}'\n")
        self._shell.stdin.flush()
        return "".join(iter(self._shell.stdout.readline, f"{END}\n"))


def test_every_command_of_the_tutorial_prints_what_is_shown() -> None:
    port = free_port()
    steps = list(STEP.finditer(PAGE.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}")))
    assert PAGE.count("\n```") == 2 * len(steps), "a block of the page is not part of the test"
    with temporary_folder() as home, ExitStack() as stack:
        terminal = stack.enter_context(Terminal(home))
        for step in steps:
            if step["name"]:
                (home / "first-campaign" / step["name"]).write_text(step["content"])
                continue
            for command in commands(step["session"]):
                if command.line == STARTS_THE_SERVER:
                    folder = Path(terminal.run("pwd").strip())
                    printed = start(stack, folder, port)
                    terminal = stack.enter_context(Terminal(home))
                else:
                    printed = terminal.run(command.line)
                assert is_shown(command.shown, printed), f"$ {command.line}\n{printed}\ninstead of\n{command.shown}"


def start(stack: ExitStack, folder: Path, port: int) -> str:
    """Start the server as in a terminal of its own; return what it prints until it serves."""
    assert ADSERVER.parent == ROOT / ".venv" / "bin"
    server = stack.enter_context(Launched("run", port=port, folder=folder))
    server.wait_for(READY)
    printed = "".join(server.output)
    return printed[: printed.index(READY) + len(READY)]
