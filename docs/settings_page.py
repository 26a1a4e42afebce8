"""Writes docs/settings.md from the settings themselves: `make docs`."""

import sys
from collections.abc import Iterator

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from app.settings import Settings

HEAD = """# Settings

Settings are environment variables. Each has its unit in its name: `_ms`, `_s`, `_days`, `_bytes`. An empty one is as
good as none.
A value that cannot work stops the server before it starts, with one line that names the variable. A variable that
begins with `ADSERVER_` and is no setting is ignored, with one line that names it and the nearest setting.

Only `adserver run` and `adserver migrate` make an embedded Postgres in `ADSERVER_DATA_DIR`. Other commands say where
they looked for one, and exit with 2.

| Variable | Default | Range | What it sets |
|---|---|---|---|
"""

TAIL = """
A server whose `ADSERVER_HOST` or `ADSERVER_ADMIN_HOST` is not a loopback address can be reached by other machines. A
name other than `localhost` counts as such an address. It starts only if `ADSERVER_SECRET_KEY`, `ADSERVER_ADMIN_TOKEN`
and each of `ADSERVER_RETIRED_SECRET_KEYS` have at least 16 characters and are not known from documentation; `adserver
run` makes a key if it is given none.

Players cannot connect to a wildcard address (`0.0.0.0`, `::`): set `ADSERVER_PUBLIC_URL` there. Without it beacons
lead to an address of this machine, and the server says so when it starts.

Some of them nest, or the server refuses to start:

- `ADSERVER_GROUP_FETCH_WAIT_MS` ≤ `ADSERVER_UPSTREAM_DEADLINE_MS` ≤ `ADSERVER_REQUEST_DEADLINE_MS`
- `ADSERVER_UPSTREAM_DEADLINE_MS` < `ADSERVER_IDLE_IN_TRANSACTION_TIMEOUT_MS`, so that Postgres never ends a transaction
  that waits for an upstream.

Tracing is set up by OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_ENDPOINT` above all; without it there is none.

This page is written by `make docs` from `app/settings.py`.
"""


def page() -> str:
    """The page as it is to stand in docs/settings.md."""
    rows = "".join(f"| {' | '.join(_row(name, field))} |\n" for name, field in Settings.model_fields.items())
    return HEAD + rows + TAIL


def _row(name: str, field: FieldInfo) -> Iterator[str]:
    yield f"`ADSERVER_{name.upper()}`"
    yield f"`{_default(field)}`" if _default(field) else ""
    yield _range(field)
    yield (field.description or "").replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    """A default as it would be written in the environment; empty for none, and for secrets."""
    return "" if field.default is None or field.default == () else str(field.default)


def _range(field: FieldInfo) -> str:
    bounds = {type(limit): limit for limit in field.metadata}
    least, most = bounds.get(Ge), bounds.get(Le)
    if least and most:
        return f"{least.ge:,} to {most.le:,}"
    return f"at least {least.ge:,}" if least else ""


if __name__ == "__main__":
    sys.stdout.write(page())
