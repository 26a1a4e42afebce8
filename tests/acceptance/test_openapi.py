"""The API's own description is what the API does: requests made up from it, and answers held against it."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Databases
from tests.campaigns import own_campaign, placement, set_up
from tests.players import SECRETS, serving

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize(
    "made_up",
    [
        ("--phases=fuzzing", "--max-examples=5"),
        pytest.param(("--phases=examples,coverage,fuzzing", "--max-examples=50"), marks=pytest.mark.slow),
    ],
    ids=["a few", "many"],
)
async def test_requests_made_up_from_the_description_are_answered_as_it_says(
    of_module: Databases, made_up: tuple[str, str], tmp_path: Path
) -> None:
    await set_up(of_module.owner, own_campaign("acme"), placement("preroll", "acme"))
    async with serving(of_module.app, WORKERS="1", LOG_LEVEL="error") as server:
        process = await asyncio.create_subprocess_exec(
            *(SCHEMATHESIS, f"--config-file={CONFIGURATION}", "run", f"{server.url}/openapi.json"),
            *("--seed=1", "--no-color", "--warnings=off", "--max-redirects=0"),
            *("--generation-database=none", *made_up),
            *("--header", f"Authorization: Bearer {SECRETS['ADMIN_TOKEN']}"),
            cwd=tmp_path,  # it keeps files there
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
    assert server.output == [f"Serving on {server.url}\n"]
