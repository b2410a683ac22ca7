"""What `deadpan check` and a worker's start say of settings that fit, but not to one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from deadpan.core.settings import load
from tests.checkpoints import asked
from worker.checks import policy_warnings


def test_a_rule_about_a_score_that_the_model_does_not_give_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[rules]]\nname = "rude"\nwhen = "sarcasm >= 0.1 and offensive >= 0.5"\n'
        'queue = "a"\npriority = 1\n'
        '[[rules]]\nname = "hate"\nwhen = "hateful >= 0.5"\nqueue = "a"\npriority = 1\n'
    )
    monkeypatch.setenv("DEADPAN_SOURCE", "file:posts.jsonl")
    monkeypatch.setenv("DEADPAN_POLICY", str(policy))
    asked(tmp_path / "model", "offensive")
    monkeypatch.setenv("DEADPAN_MODEL", str(tmp_path / "model"))
    (warning,) = policy_warnings(load())
    for words in ("'hate'", "'hateful'", str(tmp_path / "model")):
        assert words in warning
    monkeypatch.setenv("DEADPAN_MODEL", str(tmp_path / "none"))
    assert policy_warnings(load()) == []
