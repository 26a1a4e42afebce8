"""Private parts of libraries are listed in docs/private-apis.md, exist in the installed versions, and are bounded."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import aiohttp
import httptools
import pytest
import uvicorn
from httpx_aiohttp import AiohttpTransport
from lxml import etree
from prometheus_client import CollectorRegistry, Histogram
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.fast_path.http_cycle import FastPathCycle
from app.fast_path.http_protocol import FastPathProtocol

CHECKOUT = Path(__file__).parents[3]
APP = CHECKOUT / "app"
PAGE = (CHECKOUT / "docs" / "private-apis.md").read_text()
ROWS = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in PAGE.splitlines() if line.startswith("| `")]
"""Library, private part, files and tests of each row."""

UNDOCUMENTED = (
    "asyncpg.pgproto",
    "httpx_aiohttp.transport",
    "purgatory.domain",
    "uvicorn.protocols",
)
"""Modules that are private though their names do not say so."""

DOCUMENTED = {"_replace", "_fields", "_asdict", "_make"}
"""Of named tuples."""

CYCLE_ATTRIBUTES = {"disconnected", "keep_alive", "message_event", "more_body", "response_complete"}
PROTOCOL_ATTRIBUTES = {
    *("app", "client", "config", "connections", "cycle", "expect_100_continue", "flow", "headers", "limit_concurrency"),
    *("loop", "parser", "scope", "server_state", "timeout_keep_alive_task", "transport"),
}
PROTOCOL_METHODS = {
    *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
    *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
    *(
        "on_response_complete",
        "timeout_keep_alive_handler",
        "shutdown",
        "_unset_keepalive_if_required",
        "_should_upgrade",
    ),
}

Use = tuple[str, str]
"""A file below the checkout, and the private name that it uses."""


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def is_listed(use: Use) -> bool:
    file, name = use
    return any(name in quoted(parts) and file.startswith(tuple(quoted(files))) for _, parts, files, _ in ROWS)


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(APP.rglob("*.py")):
        yield str(path.relative_to(CHECKOUT)), ast.parse(path.read_text())


def own_names(tree: ast.Module) -> Iterator[str]:
    """Names that a module defines: functions, classes, variables, slots, and attributes of `self` and `cls`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.Constant(value=str(name)) if name.startswith("_"):
                yield name


def private_uses() -> Iterator[Use]:
    own = set(chain.from_iterable(own_names(tree) for _, tree in trees())) | DOCUMENTED
    for file, tree in trees():
        foreign = imported_from_libraries(tree)
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr=name) if is_private(name) and (name not in own or root_of(node) in foreign):
                    yield file, name
                case ast.ImportFrom(module=str(module), names=names) if not module.startswith("app"):
                    if module.startswith(UNDOCUMENTED) or any(map(is_private, module.split("."))):
                        yield file, module
                    yield from ((file, alias.name) for alias in names if is_private(alias.name))


def imported_from_libraries(tree: ast.Module) -> set[str]:
    """Names in a module that are modules, classes and functions of libraries."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases} - {"app"}
            case ast.ImportFrom(module=str(module), names=aliases) if not module.startswith("app"):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


def root_of(node: ast.expr) -> str | None:
    """The name with which a chain of attributes begins."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def overrides() -> Iterator[Use]:
    """Private methods of libraries that a class of this project replaces."""
    for file, tree in trees():
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        module = import_module(file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")) if names else None
        for own_class in (getattr(module, name) for name in names):
            bases = [base for base in own_class.__mro__[1:] if not base.__module__.startswith("app.")]
            for name, member in vars(own_class).items():
                if inspect.isfunction(member) and is_private(name) and not name.endswith("_"):
                    yield from ((file, name) for base in bases if name in vars(base))


def test_every_private_part_that_is_used_is_listed() -> None:
    assert [use for use in sorted({*private_uses(), *overrides()}) if not is_listed(use)] == []


def test_the_scan_finds_what_is_listed() -> None:
    """A scan that found nothing would pass the test above."""
    found = {name for _, name in chain(private_uses(), overrides())}
    assert found >= {
        "_sum",
        "_buckets",
        "_unset_keepalive_if_required",
        "_should_upgrade",
        "_retry_connection",
        "_Element",
    }
    assert found >= {"uvicorn._types", "asyncpg.pgproto.pgproto", "purgatory.domain.model", "httpx_aiohttp.transport"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_files_and_tests_of_a_row_exist(row: tuple[str, ...]) -> None:
    _, _, files, tests = row
    for path in [*quoted(files), *quoted(tests)]:
        assert (CHECKOUT / path).exists(), path
    assert quoted(tests)


@pytest.mark.parametrize("library", sorted({quoted(row[0])[0] for row in ROWS}))
def test_a_library_whose_private_parts_are_used_has_an_upper_bound_that_the_installed_version_keeps(
    library: str,
) -> None:
    dependencies = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    (line,) = (line for line in dependencies if re.match(r"[\w-]+", line).group() == library)  # type: ignore[union-attr]
    bound = re.search(r"<([\d.]+)", line)
    assert bound, f"{line} has no upper bound"
    assert numbers(version(library)) < numbers(bound[1])


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


async def test_uvicorns_protocol_has_what_the_fast_path_uses() -> None:
    config = uvicorn.Config("", loop="none", http=HttpToolsProtocol, ws="none", lifespan="off")
    config.load_app = lambda: lambda *_: None  # type: ignore[method-assign,assignment,return-value]
    protocol = HttpToolsProtocol(config, ServerState(), {})
    assert PROTOCOL_ATTRIBUTES - set(vars(protocol)) == set()
    assert PROTOCOL_METHODS - set(dir(HttpToolsProtocol)) == set()
    cycle = set(inspect.getsource(RequestResponseCycle.__init__).replace("self.", " ").split())
    assert CYCLE_ATTRIBUTES - cycle == set()
    assert set(FastPathCycle.__slots__) - {"_send"} == CYCLE_ATTRIBUTES


def test_the_fast_path_replaces_each_method_that_reads_the_current_request() -> None:
    """uvicorn may not read an attribute of the current request that FastPathCycle lacks."""
    inherited = [
        member
        for name, member in inspect.getmembers(HttpToolsProtocol, inspect.isfunction)
        if getattr(FastPathProtocol, name) is member or name in ("connection_lost", "on_response_complete")
    ]
    used = set(
        chain.from_iterable(re.findall(r"self\.cycle\.(\w+)", inspect.getsource(member)) for member in inherited)
    )
    assert used <= CYCLE_ATTRIBUTES


def test_other_private_parts_exist() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "Seconds", registry=registry, buckets=(1.0,))
    assert histogram._sum.get() == 0
    assert len(histogram._buckets) == 2
    assert "_retry_connection" in inspect.getsource(aiohttp.ClientSession)
    assert {"client", "get_client"} <= set(re.findall(r"self\.(\w+)", inspect.getsource(AiohttpTransport)))
    assert {"startup", "should_exit"} <= {
        *dir(uvicorn.Server),
        *re.findall(r"self\.(\w+)", inspect.getsource(uvicorn.Server)),
    }
    assert {"_Element", "_ElementTree"} <= set(dir(etree))
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        httptools.HttpRequestParser(object()).feed_data(
            b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nrest"
        )
    assert upgrade.value.args == (len(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),)
