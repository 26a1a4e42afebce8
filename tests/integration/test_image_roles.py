"""What the postgres image runs on an empty volume: deploy/postgres/roles.sh."""

import asyncio
import subprocess
from pathlib import Path

from sqlalchemy.engine import make_url

from app.store.connections import connect
from app.store.roles import APP, FINANCE
from tests.postgres import temporary_postgres

SCRIPT = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sh"


async def test_the_roles_log_in_with_the_passwords_of_the_environment() -> None:
    with temporary_postgres() as server:
        url = make_url(server.tcp_dsn)
        passwords = {APP: "it's \\ odd", FINANCE: "$(plain)"}
        environment = {
            "PATH": f"{server.programs}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(url.port),
            "PGPASSWORD": str(url.password),
            "POSTGRES_USER": "postgres",
            "POSTGRES_DB": "adserver",
            "ADSERVER_APP_PASSWORD": passwords[APP],
            "ADSERVER_FINANCE_PASSWORD": passwords[FINANCE],
        }
        await asyncio.to_thread(subprocess.run, ["sh", SCRIPT], env=environment, check=True)
        for role, password in passwords.items():
            of_role = url.set(username=role, password=password).render_as_string(hide_password=False)
            async with connect(of_role) as connection:
                assert await connection.fetchval("SELECT current_user") == role
