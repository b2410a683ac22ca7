"""`deadpan evaluate` and `deadpan calibrate`, as a model owner types them."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deadpan.cli import app
from deadpan.core.errors import ConfigurationError, DataError
from models.checkpoint.checkpoint import read_info
from models.training.run import TrainingResult
from tasks.policy.rules import parse_policy
from tests.unit.models.conftest import Toy, toy_posts, write_posts


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate_writes_a_report_and_compares_read_outs(
    toy: Toy, trained: TrainingResult, tmp_path: Path
) -> None:
    posts = toy_posts(tmp_path, "fresh", 24)
    odd = write_posts(
        tmp_path / "odd.jsonl",
        [{"id": f"c{n}", "text": "so sad", "images": ["fresh-5.png"]} for n in range(4)],
    )
    report = tmp_path / "report.html"
    more = ("--conflict", odd, "--report", report, "--json")
    told = json.loads(run("evaluate", posts, "--model", trained.path, *more))
    assert told["sentiment"]["fused"]["n"] == 24
    assert told["sarcasm"] is None
    assert set(told["differences"]["sentiment"]) == {"fused - text_alone", "fused - image_alone"}
    assert told["differences"]["sentiment"]["fused - text_alone"]["n"] == 12
    assert told["conflict"]["disagreement"]["true"] == 4
    assert told["model"] in report.read_text()
    shown = run("evaluate", posts, "--model", trained.path)
    assert "fused - image_alone" in shown


def test_a_report_into_a_folder_that_is_not_there_is_refused_before_any_work(
    toy: Toy, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        run("evaluate", toy.dev[0].path, "--report", tmp_path / "nowhere" / "report.html")


def test_calibrate_writes_temperatures_thresholds_and_a_policy(
    trained: TrainingResult, tmp_path: Path
) -> None:
    posts = toy_posts(tmp_path, "held", 240)
    policy, output = tmp_path / "policy.toml", tmp_path / "calibrated"
    told = json.loads(
        run(
            *("calibrate", posts, "--model", trained.path, "--output", output, "--json"),
            *("--precision", "sentiment.negative=0.5", "--flags-per-day", "900"),
            *("--posts-per-day", "1000", "--policy", policy),
        )
    )
    info = read_info(output)
    assert told["version"] == info.calibration.version != "none"
    assert set(info.calibration.temperatures["sentiment"]) == {"both", "text", "image"}
    assert info.calibration.data[0]["name"] == "held.jsonl"
    assert info.calibration.thresholds[0]["score"] == "sentiment.negative"
    assert info.version == trained.version
    assert read_info(trained.path).calibration.version == "none"
    (rule, unseen) = parse_policy(tomllib.loads(policy.read_text())).rules
    assert rule.conditions[0].threshold == info.calibration.thresholds[0]["threshold"]
    assert unseen.name == "unseen"
    assert len(told["tables"]["sentiment.negative"]) == 99


def test_a_wish_that_cannot_be_had_leaves_the_model_as_it_was(
    trained: TrainingResult, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(trained.path, tmp_path / "copy"))
    posts = toy_posts(tmp_path, "held", 120)
    with pytest.raises(ConfigurationError, match="no post has a label for sarcasm"):
        run("calibrate", posts, "--model", copy, "--precision", "sarcasm=0.9")
    with pytest.raises(ConfigurationError, match="--policy needs a threshold"):
        run("calibrate", posts, "--model", copy, "--policy", tmp_path / "policy.toml")
    assert read_info(copy).calibration.version == "none"


def test_calibrating_on_what_was_learnt_is_refused(toy: Toy, trained: TrainingResult) -> None:
    with pytest.raises(DataError, match="was trained on this file"):
        run("calibrate", toy.train[0].path, "--model", trained.path)
