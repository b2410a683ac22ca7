"""Dashboard, alerts and runbook name what the code has, and each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import tasks.metrics
import worker.autoscale
import worker.sampler

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
OURS = (tasks.metrics, worker.sampler, worker.autoscale)
OUTCOMES = set(
    re.findall(r'"(\w+)": (?:judged|len\()', (ROOT / "tasks" / "moderate.py").read_text())
)


def samples() -> dict[str, set[str]]:
    """Names of all samples that the code's metrics can give, with their labels."""
    known: dict[str, set[str]] = {}
    for module in OURS:
        metrics = [m for m in vars(module).values() if isinstance(m, MetricWrapperBase)]
        for metric in metrics:
            for described in metric.describe():
                name, kind = described.name, described.type
                labels = set(metric._labelnames)
                suffixes = {
                    "counter": ["_total"],
                    "gauge": [""],
                    "info": ["_info"],
                    "histogram": ["_bucket", "_sum", "_count"],
                }[kind]
                for suffix in suffixes:
                    more = {"le"} if suffix == "_bucket" else set()
                    known[name + suffix] = labels | more
    return known


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules()]


def test_every_metric_that_is_asked_for_exists() -> None:
    known = samples()
    asked = {name for e in expressions() for name in re.findall(r"deadpan_\w+", e)}
    assert len(asked) > 8
    assert asked <= set(known)
    registered = {metric.name for metric in REGISTRY.collect()}
    assert {name for name in registered if name.startswith("deadpan_")}


def test_labels_that_are_asked_for_exist() -> None:
    known = samples()
    info = {"name", "version", "engine", "device"}
    for expression in expressions():
        names = re.findall(r"deadpan_\w+", expression)
        labels = set().union(*(known[name] for name in names))
        if "deadpan_model_info" in names:
            labels |= info
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        assert {label.strip() for group in grouped for label in group.split(",")} <= labels
        for label, value in re.findall(r'(\w+)="(\w+)"', expression):
            assert label in labels
            if label == "outcome":
                assert value in OUTCOMES, value


def test_brackets_close() -> None:
    for expression in expressions():
        for left, right in ("()", "[]", "{}"):
            assert expression.count(left) == expression.count(right), expression


def test_every_alert_has_a_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
    alerts = [rule["alert"] for rule in rules()]
    assert sections == alerts
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / page).exists()
        assert anchor == rule["alert"].lower()
