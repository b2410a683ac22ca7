"""Write a policy whose thresholds say where they come from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deadpan.core.errors import PolicyError
from tasks.policy.reason_codes import ReasonCodes
from tasks.policy.rules import parse_policy

_PLACES = {
    "hateful": ("negative", 90),
    "offensive": ("negative", 80),
    "sentiment.negative": ("negative", 60),
    "sarcasm": ("sarcasm", 40),
}
"""Queue and priority of a score's rule, as in the policy that ships."""

_OTHER_PRIORITY = 20


def policy_toml(
    thresholds: Sequence[Mapping[str, Any]],
    *,
    model: str,
    calibration: str,
    data: Sequence[Mapping[str, Any]],
    reason_codes: ReasonCodes | None = None,
) -> str:
    """A policy with a rule for each threshold, and one for posts that could not be seen.

    Args:
        thresholds: "score", "threshold", "why", "precision", "recall", "share" and "flags_per_day"
            of each.
        model: version of the model that gave the scores.
        calibration: version of its calibration.
        data: "name", "sha256" and "n" of each file that the thresholds were chosen on.
        reason_codes: to go on with; none are written if left out.

    Raises:
        PolicyError: a score is none that policies know.
    """
    lines = [*_lines(thresholds, model, calibration, data)]
    if reason_codes is not None:
        lines += ["", "[reason_codes]"]
        # Words are printable, so JSON's quotes are TOML's.
        lines += [f"{c} = {json.dumps(w, ensure_ascii=False)}" for c, w in reason_codes.items()]
    text = "\n".join(lines) + "\n"
    parse_policy(tomllib.loads(text), shown="the new policy")
    return text


def write_policy(path: Path, text: str) -> None:
    """Write a policy, whole or not at all.

    Raises:
        PolicyError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PolicyError(
            [f"policy {path} cannot be written: {error.strerror or error}; name another file"]
        ) from None


def _lines(
    thresholds: Sequence[Mapping[str, Any]],
    model: str,
    calibration: str,
    data: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield "# Thresholds chosen by `deadpan calibrate`; they belong to these versions, and to posts"
    yield "# like those they were chosen on. Choose them again when either changes."
    yield "#"
    yield f"# model        {model}"
    yield f"# calibration  {calibration}"
    for file in data:
        # quoted, for a file's name may hold a line break
        name = json.dumps(file["name"])
        yield f"# data         {name}, {file['n']} posts, SHA-256 {file['sha256']}"
    for one in thresholds:
        score = one["score"]
        name = score.replace(".", "-")
        queue, priority = _PLACES.get(score, (name.rpartition("-")[2], _OTHER_PRIORITY))
        yield ""
        yield f"# {one['why']}"
        yield f"# precision    {_interval(one['precision'])}"
        yield f"# recall       {_interval(one['recall'])}"
        if one["flags_per_day"] is not None:
            yield f"# flags a day  {one['flags_per_day']:.0f}, if posts come as in the data"
        yield "[[rules]]"
        yield f'name = "{name}"'
        yield f'when = "{score} >= {one["threshold"]:g}"'
        yield f'queue = "{queue}"'
        yield f"priority = {priority}"
    yield ""
    yield "# Posts whose pictures could not be seen at all."
    yield "[[rules]]"
    yield 'name = "unseen"'
    yield 'when = "degraded >= 1.0"'
    yield 'queue = "degraded"'
    yield "priority = 10"


def _interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.3f} (95 %: {metric['low']:.3f} to {metric['high']:.3f})"
