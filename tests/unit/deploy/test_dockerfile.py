"""The image is built from the wheel and from locked versions, as far as the Dockerfile shows it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
INSTRUCTIONS = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text()).splitlines()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
STEPS = [step for line in INSTRUCTIONS if line.startswith("RUN ") for step in line[4:].split(" && ")]
INSTALLS = [step for step in STEPS if re.search(r"\bpip install\b", step)]


def test_everything_that_is_installed_is_locked_by_a_hash_or_is_the_wheel() -> None:
    assert len(INSTALLS) == 3
    locked = [step for step in INSTALLS if "--require-hashes" in step and "--only-binary :all:" in step]
    wheels = [step for step in INSTALLS if step.strip().endswith("/wheel/*.whl") and "--no-index" in step]
    assert (len(locked), len(wheels)) == (2, 1)
    assert [step for step in INSTALLS if "--no-deps" not in step or "--editable" in step] == []


def test_the_wheel_is_built_from_the_sources_without_a_registry() -> None:
    (built,) = [step for step in STEPS if re.search(r"\bpip wheel\b", step)]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(built.split())


def test_the_image_has_what_was_installed_and_no_sources() -> None:
    last = INSTRUCTIONS[max(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
    assert [line for line in last if line.startswith("COPY ")] == ["COPY --from=installed /opt/adserver /opt/adserver"]
    assert "USER adserver" in last


def test_nothing_that_is_copied_is_ignored() -> None:
    let_through = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    copied = {
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert IGNORED[0] == "*"
    assert {source for source in copied if not any(Path(source).match(pattern) for pattern in let_through)} == set()
