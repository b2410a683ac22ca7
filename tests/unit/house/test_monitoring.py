"""Dashboard, alerts and runbook name what the code has, and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import tasks.callbacks.metrics
import tasks.challenger.metrics
import tasks.intake.spoilt
import tasks.watches.metrics
import tasks.watches.model_breaks
import tasks.watches.stores
import worker.fleet.autoscale
import worker.sampler

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "monitoring"
NAME = re.compile(r"deadpan_\w+")
INFO_LABELS = {"name", "version", "engine", "device"}
CASES = sorted((ROOT / "tests" / "unit" / "house").glob("alerts*_test.yml"))
OURS = (
    tasks.watches.metrics,
    tasks.watches.model_breaks,
    tasks.callbacks.metrics,
    tasks.challenger.metrics,
    tasks.intake.spoilt,
    tasks.watches.stores,
    worker.sampler,
    worker.fleet.autoscale,
)
CALLS = {
    "deadpan_posts_total": r'"(\w+)": (?:len\(outcomes|outcomes|sum\()',
    "deadpan_revisits_total": r'REVISITS\.labels\("(\w+)"\)',
    "deadpan_callbacks_total": r'CALLBACKS\.labels\("(\w+)"\)',
    "deadpan_challenger_posts_total": r'metrics\.POSTS\.labels\("(\w+)"\)',
}
"""How the code names the outcomes that a metric counts."""
CODE = "".join(
    path.read_text()
    for room in ("moderate", "callbacks", "challenger")
    for path in sorted((ROOT / "tasks" / room).glob("*.py"))
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
                    "summary": ["_sum", "_count"],
                }[kind]
                for suffix in suffixes:
                    more = {"le"} if suffix == "_bucket" else set()
                    known[name + suffix] = labels | more
    return known


def outcomes() -> dict[str, set[str]]:
    """Outcomes that a process shows before there was any, by metric."""
    return {
        name: {
            sample.labels["outcome"]
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == name
        }
        for name in CALLS
    }


def all_rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def rules() -> list[dict[str, Any]]:
    """Alerts alone."""
    return [rule for rule in all_rules() if "alert" in rule]


def shown() -> list[str]:
    """What the dashboard asks for."""
    board = json.loads((FOLDER / "dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    return shown() + [rule["expr"] for rule in all_rules()]


def test_series_that_alerts_ask_for_are_recorded() -> None:
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    asked = {name for e in expressions() for name in re.findall(r"deadpan:[\w:]+", e)}
    assert asked == recorded


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    """By Prometheus' own tool, where it is installed."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: prometheus); no alert rule was tried")
    for arguments in (
        ["check", "rules", str(FOLDER / "alerts.yml")],
        ["test", "rules", *map(str, CASES)],
    ):
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: prometheus); no expression was parsed")
    asked = [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(shown())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    done = subprocess.run(
        [tool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(asked)} rules found" in done.stdout


def test_panels_do_not_overlap_and_their_ids_differ() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    asked = [
        (asked["alertname"], bool(asked.get("exp_alerts")))
        for file in CASES
        for case in yaml.safe_load(file.read_text())["tests"]
        for asked in case["alert_rule_test"]
    ]
    alerts = {rule["alert"] for rule in rules()}
    assert {name for name, fires in asked if fires} == alerts
    assert {name for name, fires in asked if not fires} == alerts


def test_every_metric_that_is_asked_for_exists() -> None:
    known = samples()
    asked = {name for e in expressions() for name in re.findall(r"deadpan_\w+", e)}
    assert len(asked) > 8
    assert asked <= set(known)
    registered = {metric.name for metric in REGISTRY.collect()}
    assert {name for name in registered if name.startswith("deadpan_")}


def test_every_metric_is_on_the_dashboard() -> None:
    asked = {re.sub("_(bucket|sum|count)$", "", n) for e in shown() for n in NAME.findall(e)}
    assert asked == {re.sub("_(bucket|sum|count)$", "", name) for name in samples()}


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "howto" / "observability.md").read_text()
    rows = re.findall(r"^\| (`deadpan_.*?) \|", page, re.M)
    found = re.findall(r"`(\w+)(?:{([\w,]+)})?`", " ".join(rows))
    listed = {name: set(labels.split(",")) - {""} for name, labels in found}
    known = {
        re.sub("_(bucket|sum|count)$", "", name): labels - {"le"}
        for name, labels in samples().items()
    }
    known |= {name: INFO_LABELS for name in known if name.endswith("_info")}
    assert listed == known


def test_outcomes_are_there_from_the_start_and_are_those_of_the_code() -> None:
    """A rate sees no first one of a series that was not there before."""
    for name, call in CALLS.items():
        assert set(re.findall(call, CODE)) == outcomes()[name], name


def test_labels_that_are_asked_for_exist() -> None:
    known = samples()
    for expression in expressions():
        names = re.findall(r"deadpan_\w+", expression)
        labels = set().union(*(known[name] for name in names))
        if any(name.endswith("_info") for name in names):
            labels |= INFO_LABELS
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        assert {label.strip() for group in grouped for label in group.split(",")} <= labels
        for name, label, values in re.findall(r'(\w+){(\w+)!?=~?"([\w|]*)"}', expression):
            assert label in labels
            if label == "outcome":
                assert set(values.split("|")) <= outcomes()[name], expression


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
