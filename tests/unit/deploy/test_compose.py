"""docker-compose.yml and the Dockerfiles: everything that can be checked without Docker."""

import json
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.launch.exposure import require_strong_secrets
from app.launch.supervisor import STOP_S
from app.observability.logs import CLOSE_S
from app.settings import Settings

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
Validator = jsonschema.validators.validator_for(SCHEMA)
FILE = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(FILE)
SERVICES: dict[str, Any] = COMPOSE["services"]
SECRET_NAME = re.compile("PASSWORD|SECRET|TOKEN|DATABASE_URL")
DOCKERFILES = ("Dockerfile", "deploy/pgbouncer/Dockerfile")


def test_the_compose_file_is_valid_against_the_compose_specification() -> None:
    Validator(SCHEMA).validate(COMPOSE)


def test_the_schema_rejects_unknown_keys() -> None:
    broken = {**COMPOSE, "services": {**SERVICES, "adserver": {**SERVICES["adserver"], "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError):
        Validator(SCHEMA).validate(broken)


def test_mounted_files_and_build_folders_exist() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    built = [service["build"] for service in SERVICES.values() if "build" in service]
    paths = [path for path in mounted if path.startswith(".")] + built
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_settings_in_the_compose_file_exist() -> None:
    known = {f"ADSERVER_{name.upper()}" for name in Settings.model_fields}
    configured = SERVICES["adserver"]["environment"].keys() | SERVICES["migrate"]["environment"].keys()
    assert configured - known == set()


def test_the_server_waits_for_the_migrations_and_runs_as_the_role_that_cannot_migrate() -> None:
    assert SERVICES["adserver"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert "//adserver_app:" in SERVICES["adserver"]["environment"]["ADSERVER_DATABASE_URL"]


@pytest.mark.parametrize("service", ["adserver", "pgbouncer"])
def test_docker_gives_servers_time_to_stop(service: str) -> None:
    granted_s = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert granted_s > STOP_S + CLOSE_S


def test_pgbouncer_knows_the_databases_that_the_server_connects_to() -> None:
    environment = SERVICES["adserver"]["environment"]
    requested = {environment["ADSERVER_DATABASE_URL"].rpartition("/")[2]}
    requested |= set(re.findall(r"ADDRESS:\+(\w+)", environment["ADSERVER_SERVING_DATABASE"]))
    assert requested == set(pgbouncer()["databases"])


def test_the_documented_command_for_pgbouncer_makes_the_server_use_it() -> None:
    port = pgbouncer()["pgbouncer"]["listen_port"]
    variable = f"ADSERVER_DATABASE_ADDRESS=pgbouncer:{port}"
    assert re.findall(r"^# .*: +(.*--profile pgbouncer up)$", FILE, re.MULTILINE) == [
        f"{variable} docker compose --profile pgbouncer up"
    ]


def test_every_secret_is_required_and_none_is_in_the_file() -> None:
    secrets = set(re.findall(r"\w*(?:PASSWORD|SECRET|TOKEN)\w*(?=:\?)", FILE))
    assert secrets == set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN)\w*)", FILE))
    assert {name: value for name, value in environments() if SECRET_NAME.search(name) and "${" not in value} == {}


def test_the_documented_commands_create_strong_secrets(tmp_path: Path) -> None:
    block = "\n".join(line.removeprefix("#") for line in FILE.splitlines() if line.startswith("#   "))
    subprocess.run(["sh", "-eu", "-c", block], cwd=tmp_path, check=True)
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = dict(line.split("=") for line in file.read_text().splitlines())
    assert values.keys() == set(re.findall(r"\$\{(\w+):\?", FILE))
    settings = Settings(
        host="0.0.0.0", secret_key=values["ADSERVER_SECRET_KEY"], admin_token=values["ADSERVER_ADMIN_TOKEN"]
    )
    require_strong_secrets(settings)
    assert subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=ROOT, check=False).returncode == 0


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("service", SERVICES)
def test_containers_have_no_unneeded_rights(service: str) -> None:
    confined = SERVICES[service]
    assert (confined["cap_drop"], confined["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert confined["read_only"] is True
    assert "/tmp" in confined["tmpfs"]
    assert "cap_add" not in confined
    assert "privileged" not in confined


def test_images_are_of_exact_versions() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    for dockerfile in DOCKERFILES:
        images += re.findall(r"^FROM (\S+)", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image)] == []


def test_prometheus_scrapes_the_admin_port() -> None:
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (target,) = configuration["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == f"adserver:{SERVICES['adserver']['environment']['ADSERVER_ADMIN_PORT']}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_copies_existing_files_and_does_not_run_as_root(dockerfile: str) -> None:
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


def environments() -> Iterator[tuple[str, str]]:
    for service in SERVICES.values():
        yield from service.get("environment", {}).items()


def pgbouncer() -> ConfigParser:
    configuration = ConfigParser(interpolation=None)
    configuration.read(ROOT / "deploy" / "pgbouncer" / "adserver.ini")
    return configuration
