"""The server states the version of pyproject.toml in every place."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from lxml import etree
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from app.cli import app
from app.domain import VastVersion
from app.observability.metric_definitions import MetricDefinitions
from app.vast.own_ads import own_document
from app.version import VERSION
from app.web.openapi.document import document
from tests.unit.vast.conftest import BASE_URL, VALUES
from tests.unit.vast.creatives import ADVERTISER, PLAIN

ROOT = Path(__file__).parents[3]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_installed_package_has_the_version_of_pyproject() -> None:
    assert version("adserver") == VERSION == STATED, "run `make install` after a change of the version"


def test_the_command_prints_the_version() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert (printed.exit_code, printed.output) == (0, f"adserver {STATED}\n")


@pytest.mark.parametrize("vast_version", list(VastVersion))
def test_ads_name_the_version_of_the_ad_system(vast_version: VastVersion) -> None:
    root = etree.fromstring(own_document(PLAIN, ADVERTISER, vast_version, BASE_URL).render(VALUES))
    (ad_system,) = root.iterfind(".//{*}AdSystem")
    assert (ad_system.text, ad_system.get("version")) == ("adserver", STATED)


def test_the_description_of_the_api_has_the_version() -> None:
    assert document()["info"]["version"] == STATED


def test_a_metric_has_the_version() -> None:
    registry = CollectorRegistry()
    MetricDefinitions(registry)
    assert registry.get_sample_value("adserver_build_info", {"version": STATED}) == 1
