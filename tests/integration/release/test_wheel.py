"""The wheel has every file that the commands need: they work from any folder, without the checkout."""

import subprocess
import tomllib
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from app.store.revision import needed_revision
from tests.integration.release.conftest import ROOT, Installation
from tests.launched import Launched
from tests.valid_vast import assert_valid

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
TRACKED = ("--cached", "--others", "--exclude-standard")
PAGES = ("/demo", "/console", "/docs", "/openapi.json")
PARTS = ("/static/pages.css", "/static/ad.mp4", "/static/content.mp4")


@pytest.fixture(scope="module")
def server(installation: Installation) -> Iterator[Launched]:
    """`adserver run` from the wheel, on a database that `adserver migrate` made."""
    assert installation.run("adserver", "migrate").splitlines()[-1] == f"Migrated to {needed_revision()}."
    with installation.launch("run") as launched:
        launched.wait_for("Press Ctrl-C to stop")
        yield launched


def test_the_wheel_has_all_tracked_files_of_both_packages_and_nothing_else(wheel: Path) -> None:
    command = ["git", "-C", str(ROOT), "ls-files", *TRACKED, "app", "migrations"]
    listed = subprocess.check_output(command, text=True)
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith(f"adserver-{VERSION}.dist-info/")}
    # The bundled player is built for the demo and is not tracked.
    assert {name for name in packed if not name.startswith("app/web/static/player/")} == set(listed.split())


def test_the_metadata_names_license_versions_and_options(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        info = f"adserver-{VERSION}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (
        "adserver",
        VERSION,
        "Apache-2.0",
    )
    assert metadata.get_all("Provides-Extra") == ["parquet"]


def test_the_checkout_is_not_what_runs(installation: Installation) -> None:
    printed = installation.run("python", "-c", "import app, app.store.revision as r; print(app.__file__, r.MIGRATIONS)")
    assert [Path(path).is_relative_to(installation.programs.parent) for path in printed.split()] == [True, True]


def test_the_version_is_that_of_the_wheel(installation: Installation) -> None:
    assert installation.run("adserver", "--version") == f"adserver {VERSION}\n"


def test_an_ad_is_served(server: Launched) -> None:
    answer = server.get("/vast", placement_id="preroll", user_id="viewer")
    assert "<Ad " in answer.text
    assert_valid(answer.content)


@pytest.mark.parametrize("path", [*PAGES, *PARTS])
def test_pages_and_their_parts_are_served(server: Launched, path: str) -> None:
    assert server.get(path).status_code == 200


@pytest.mark.usefixtures("server")
def test_what_is_exported_can_be_applied(installation: Installation) -> None:
    exported = installation.run("adserver", "export")
    file = installation.folder / "campaigns.toml"
    file.write_text(exported)
    assert " 0 created, 0 updated," in f" {installation.run('adserver', 'apply', str(file)).splitlines()[-1]}"


@pytest.mark.usefixtures("server")
def test_psql_reaches_the_database(installation: Installation) -> None:
    assert installation.run("adserver", "dsn").startswith("postgresql://")
    printed = installation.run("adserver", "psql", "--role", "finance", "--", "-Atc", "SELECT 1 FROM finance.budgets")
    assert set(printed.split()) == {"1"}


@pytest.mark.usefixtures("server")
def test_the_compose_file_finds_the_demo_content(installation: Installation, tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    shell, option, script = services["demo-content"]["command"]
    url = installation.run("adserver", "dsn").strip()
    here = script.replace("/tmp/", f"{tmp_path}/")
    assert "the catalog is at revision" in installation.run(f"/bin/{shell}", option, here, DATABASE_URL=url)
