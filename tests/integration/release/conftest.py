"""The wheel, built as the Dockerfile builds it, and installed where this checkout cannot be imported."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launched import Launched, environment
from tests.postgres import temporary_folder

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel, and an empty folder to run its commands in."""

    wheel: Path
    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str, **settings: str) -> str:
        """Run a command that ends by itself; return its standard output."""
        ran = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env=self._environment() | {f"ADSERVER_{name}": value for name, value in settings.items()},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def launch(self, command: str) -> Launched:
        """A command that runs until it is stopped."""
        return Launched(command, program=self.programs / "adserver", folder=self.folder)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
        return inherited | {"PATH": f"{self.programs}:{inherited['PATH']}"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the Dockerfile copies; the checkout keeps no trace of the build."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in copied_by_the_dockerfile():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", built, source], check=True
    )
    (path,) = built.glob("adserver-*.whl")
    return path


@pytest.fixture(scope="session")
def installation(wheel: Path) -> Iterator[Installation]:
    """The wheel in an environment of its own, which borrows the dependencies of the one that runs the tests.

    The path is added as such: Python does not process the `.pth` file there that makes the checkout importable.
    """
    with temporary_folder() as folder:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (packages,) = (folder / "venv").glob("lib/python*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        programs = folder / "venv" / "bin"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"),
                *("--no-index", "--no-deps", "--ignore-installed", wheel),
            ],
            check=True,
        )
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        yield Installation(wheel, programs, elsewhere)


def copied_by_the_dockerfile() -> list[str]:
    """The sources of the stage that builds the wheel."""
    stage = (ROOT / "Dockerfile").read_text().partition(" AS wheel\n")[2].partition("\nFROM ")[0]
    return [source for line in re.findall(r"^COPY (.*)$", stage, re.MULTILINE) for source in line.split()[:-1]]
