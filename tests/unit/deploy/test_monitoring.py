"""Alert rules and the dashboard: they ask for metrics that there are, and the alerts go off when they are to."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.observability.metric_definitions import MetricDefinitions

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
GRAFANA = DEPLOY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "adserver.json").read_text())
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"\badserver_[a-z_]+")

promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian has it in `prometheus`")


def series() -> set[str]:
    """The names under which Prometheus knows the metrics of app/observability/metric_definitions.py."""
    registry = CollectorRegistry()
    MetricDefinitions(registry)
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    return {family.name + ending for family in registry.collect() for ending in endings[family.type]}


def run_promtool(*arguments: str) -> str:
    assert PROMTOOL
    ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@promtool
def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    assert "11 rules found" in run_promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


@promtool
def test_every_alert_goes_off_when_it_is_to_and_is_quiet_otherwise() -> None:
    cases = Path(__file__).parent / "alerts.test.yml"
    run_promtool("test", "rules", str(cases))
    tested = {
        (expected["alertname"], bool(expected.get("exp_alerts")))
        for case in yaml.safe_load(cases.read_text())["tests"]
        for expected in case["alert_rule_test"]
    }
    assert tested == {(name, goes_off) for name in alert_names() for goes_off in (True, False)}


def test_alerts_ask_for_metrics_that_there_are() -> None:
    assert set(METRIC.findall((PROMETHEUS / "alerts.yml").read_text())) - series() == set()


def test_the_dashboard_asks_for_metrics_that_there_are_and_shows_them_all() -> None:
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert asked - series() == set()
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in series()}
    assert families - {re.sub("_(bucket|count|sum)$", "", name) for name in asked} == set()


@promtool
def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{index}", "expr": expression.replace("$__rate_interval", "5m")}
        for index, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run_promtool("check", "rules", str(file))


def test_the_dashboard_is_read_from_where_it_is_mounted_and_asks_the_provisioned_source() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "adserver.yml").read_text())["providers"][0]
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    compose = (DEPLOY.parent / "docker-compose.yml").read_text()
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel} == {source["uid"]}


def alert_names() -> set[str]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"] for rule in group["rules"]}


def expressions() -> Iterator[str]:
    return (target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))
