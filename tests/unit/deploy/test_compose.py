"""docker-compose.yml and Dockerfile, as far as they can be held against something without Docker."""

import json
import re
import shlex
from configparser import ConfigParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.launch.processes import STOP_S
from app.observing.logs import CLOSE_S
from app.settings import Settings

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
Validator = jsonschema.validators.validator_for(SCHEMA)
FILE = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(FILE)
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILES = ("Dockerfile", "deploy/pgbouncer/Dockerfile")


def test_the_compose_file_is_valid_against_the_compose_specification() -> None:
    Validator(SCHEMA).validate(COMPOSE)


def test_the_schema_refuses_what_the_specification_does_not_know() -> None:
    broken = {**COMPOSE, "services": {**SERVICES, "adserver": {**SERVICES["adserver"], "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError):
        Validator(SCHEMA).validate(broken)


def test_everything_that_is_mounted_or_built_is_there() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    built = [service["build"] for service in SERVICES.values() if "build" in service]
    paths = [path for path in mounted if path.startswith(".")] + built
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_setting_in_the_compose_file_is_one() -> None:
    known = {f"ADSERVER_{name.upper()}" for name in Settings.model_fields}
    given = SERVICES["adserver"]["environment"].keys() | SERVICES["migrate"]["environment"].keys()
    assert given - known == set()


def test_the_server_waits_for_the_migrations_and_runs_as_the_role_that_cannot_migrate() -> None:
    assert SERVICES["adserver"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert "//adserver_app:" in SERVICES["adserver"]["environment"]["ADSERVER_DATABASE_URL"]


@pytest.mark.parametrize("service", ["adserver", "pgbouncer"])
def test_docker_kills_nothing_that_the_server_needs_while_it_stops(service: str) -> None:
    granted_s = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert granted_s > STOP_S + CLOSE_S


def test_the_server_asks_pgbouncer_for_databases_that_it_knows() -> None:
    environment = SERVICES["adserver"]["environment"]
    asked = {environment["ADSERVER_DATABASE_URL"].rpartition("/")[2]}
    asked |= set(re.findall(r"ADDRESS:\+(\w+)", environment["ADSERVER_SERVING_DATABASE"]))
    assert asked == set(pgbouncer()["databases"])


def test_whoever_starts_pgbouncer_as_the_file_says_uses_it() -> None:
    port = pgbouncer()["pgbouncer"]["listen_port"]
    variable = f"ADSERVER_DATABASE_ADDRESS=pgbouncer:{port}"
    assert re.findall(r"^# .*: +(.*--profile pgbouncer up)$", FILE, re.MULTILINE) == [
        f"{variable} docker compose --profile pgbouncer up"
    ]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_copies_only_what_is_there_and_does_not_run_as_root(dockerfile: str) -> None:
    file = ROOT / dockerfile
    instructions = re.sub(r"\\\n", " ", file.read_text()).splitlines()
    copied = [
        source
        for line in instructions
        if line.startswith("COPY ") and "--from" not in line
        for source in [word for word in shlex.split(line)[1:-1] if not word.startswith("--")]
    ]
    assert copied
    assert [source for source in copied if not (file.parent / source).exists()] == []
    assert [line for line in instructions if line.startswith("USER ")][-1] != "USER root"


def test_the_image_is_healthy_only_when_it_can_serve() -> None:
    assert re.search(r"^HEALTHCHECK.*\n.*/readyz", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def pgbouncer() -> ConfigParser:
    configuration = ConfigParser(interpolation=None)
    configuration.read(ROOT / "deploy" / "pgbouncer" / "adserver.ini")
    return configuration
