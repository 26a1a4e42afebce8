"""docs/operations.md names every metric, alert, log event and field, and none that is not there."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from app.observability.metric_definitions import MetricDefinitions
from app.observability.metric_snapshots import Stats, UpstreamHealth
from app.observability.readiness import ReadinessReport
from app.observability.upstream_health import UpstreamStatus

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
LEVELS = ("debug", "info", "warning", "error", "exception")
REQUEST_LINE = {"timestamp", "level", "event", "request_id", "status", "outcome", "duration_ms", "exception"}


def test_the_metrics_that_are_named_are_those_that_there_are() -> None:
    registry = CollectorRegistry()
    MetricDefinitions(registry)
    metrics = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert set(re.findall(r"^\| `(adserver_\w+)` \|", PAGE, re.MULTILINE)) == metrics


def test_the_alerts_that_are_named_are_those_that_there_are_with_their_severity() -> None:
    (group,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = {(rule["alert"], rule["labels"]["severity"]) for rule in group["rules"]}
    assert set(re.findall(r"^\| `(\w+)` \| (page|ticket) \|", PAGE, re.MULTILINE)) == alerts


def test_the_events_that_are_named_are_those_that_are_logged() -> None:
    events = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.*?`) \|", section("Event"), re.MULTILINE)))
    assert set(events) == {event for event, _ in logged()} | {"request"}


def test_the_fields_of_the_log_that_are_named_are_those_that_are_logged() -> None:
    named = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.*?`) \|", section("Field"), re.MULTILINE)))
    fields = REQUEST_LINE.union(*(of_event for _, of_event in logged()))
    assert set(named) == fields - {"exc_info"}, "an error in exc_info is written as exception"


def test_the_fields_of_the_answers_are_named() -> None:
    answers = (ReadinessReport, Stats, UpstreamStatus, UpstreamHealth)
    names = [field.name for answer in answers for field in fields(answer) if field.name != "ready"]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def section(first_column: str) -> str:
    """The table of the section on the log that begins with that heading."""
    log = PAGE.partition("\n## Log\n")[2].partition("\n## ")[0]
    return log.partition(f"| {first_column} | |\n")[2].partition("\n\n")[0]


def logged() -> Iterator[tuple[str, set[str]]]:
    """Every event that the code logs, with the names of its fields."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=event)]
                ):
                    if level in LEVELS:
                        yield str(event), {keyword.arg for keyword in node.keywords if keyword.arg}
