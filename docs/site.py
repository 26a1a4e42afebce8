"""Build the documentation site: `make docs-site`.

The pages link to each other and to source files by their places in the repository. The site keeps those places, so
that every link leads to the same file there.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGED = ROOT / "build" / "docs"
"""The folder that zensical.toml names as `docs_dir`."""

LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def pages() -> list[Path]:
    """Return the pages: those in `docs`, and those at the root of the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def linked_files(page: Path) -> set[Path]:
    """Return the files other than pages that a page links to."""
    targets = {(page.parent / link).resolve() for link in LINK.findall(page.read_text())}
    return {target for target in targets if target.suffix != ".md"}


def stage() -> None:
    """Copy the pages and the files that they link to; raise FileNotFoundError for a broken link."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for file in {*pages(), *(file for page in pages() for file in linked_files(page))}:
        copy = STAGED / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


def build() -> int:
    """Build the site into `build/site`; return the exit status, which is not 0 for a broken link."""
    stage()
    zensical = Path(sys.executable).parent / "zensical"
    return subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(build())
