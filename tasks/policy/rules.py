"""Policy: versioned rules in TOML that turn a prediction into zero or more reasons."""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import ErrorDetails

from deadpan.core.errors import PolicyError
from models.posts.prediction import OF_WORDS, SENTIMENTS, Prediction, Scores
from tasks.policy.reason_codes import SHIPPED, parse_reason_codes, read_policy

_READ_OUTS = ("", "text_alone.", "image_alone.")
SCORE_NAMES = (
    *(f"{r}sentiment.{s}" for r in _READ_OUTS for s in SENTIMENTS),
    *(f"{r}sarcasm" for r in _READ_OUTS),
    *OF_WORDS,
    "disagreement",
    "opposition",
    "degraded",
    "unread",
)
"""Everything a rule may speak of; each is between 0 and 1."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([a-z_.]+)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a score with a threshold."""

    score: str
    comparison: str
    threshold: float

    def holds(self, scores: Mapping[str, float]) -> bool:
        """Whether the post has the score and the comparison holds."""
        value = scores.get(self.score)
        return value is not None and _COMPARISONS[self.comparison](value, self.threshold)


def _conditions(when: object) -> tuple[Condition, ...]:
    if not isinstance(when, str):
        raise ValueError("write a sentence such as 'sarcasm >= 0.7'")
    conditions, problems = [], []
    for part in re.split(r"\sand\s", when):
        match = _CONDITION.fullmatch(part)
        if not match:
            problems.append(f"cannot read {part.strip()!r}; write a score, >= or <, and a number")
            continue
        score, comparison, number = match.groups()
        if score not in SCORE_NAMES:
            problems.append(f"score {score!r} is unknown; known are {', '.join(SCORE_NAMES)}")
        if not 0 <= float(number) <= 1:
            problems.append(f"threshold {number} must be between 0 and 1, as every score is")
        conditions.append(Condition(score, comparison, float(number)))
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(conditions)


def _name(given: str) -> str:
    if not _NAME.fullmatch(given):
        raise ValueError("use at most 64 lower-case letters, digits, - and _")
    return given


_Name = Annotated[str, AfterValidator(_name)]


@pydantic_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Rule:
    """When all conditions hold, the post is flagged in `queue` with `priority` (0 to 100)."""

    name: _Name
    conditions: Annotated[
        tuple[Condition, ...], Field(validation_alias="when"), BeforeValidator(_conditions)
    ]
    queue: _Name
    priority: Annotated[int, Field(strict=True, ge=0, le=100)]


_RULES = TypeAdapter(list[Rule])


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that fired, with the scores that made it fire.

    Attributes:
        conditions: one mapping for each condition: score, comparison, threshold, value.
    """

    rule: str
    queue: str
    priority: int
    conditions: tuple[Mapping[str, Any], ...]

    def as_row(self) -> dict[str, Any]:
        """As it is stored with a flag."""
        return {**asdict(self), "conditions": [dict(c) for c in self.conditions]}

    def __str__(self) -> str:
        return " and ".join(
            f"{c['score']} {c['value']:.2f} {c['comparison']} {c['threshold']:g}"
            for c in self.conditions
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules and the version that names them: it changes when, and only when, a rule does. Reason
    codes judge nothing, so they are no part of it.
    """

    rules: tuple[Rule, ...]
    version: str

    def reasons_for(self, scores: Mapping[str, float]) -> tuple[Reason, ...]:
        """The rules that fire, most urgent first; none means that the post is not flagged."""
        fired = [
            Reason(
                rule.name,
                rule.queue,
                rule.priority,
                tuple({**asdict(c), "value": scores[c.score]} for c in rule.conditions),
            )
            for rule in self.rules
            if all(condition.holds(scores) for condition in rule.conditions)
        ]
        return tuple(sorted(fired, key=lambda reason: -reason.priority))


def load_policy(path: str = "") -> Policy:
    """Read and check a policy's TOML file; without a path the policy that ships with Deadpan.

    Raises PolicyError with everything that is wrong in it.
    """
    return parse_policy(read_policy(path), shown=path or SHIPPED)


def parse_policy(data: Mapping[str, Any], *, shown: str = "policy") -> Policy:
    """Check a policy's data and give it its version; raises as `load_policy`."""
    problems = [
        f"{shown}: unknown field {key!r}; known are [[rules]] and [reason_codes]"
        for key in sorted(data.keys() - {"rules", "reason_codes"})
    ]
    if "reason_codes" in data:
        problems += parse_reason_codes(data["reason_codes"], shown=shown)[1]
    rules: list[Rule] = []
    try:
        rules = _RULES.validate_python(data.get("rules", []))
    except ValidationError as error:
        problems += [f"{shown}: {_problem(each)}" for each in error.errors(include_url=False)]
    names = [rule.name for rule in rules]
    problems += [
        f"{shown}: rule name {name!r} is used {names.count(name)} times; names must be unique"
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if problems:
        raise PolicyError(problems)
    canonical = json.dumps([asdict(rule) for rule in rules], sort_keys=True)
    return Policy(tuple(rules), hashlib.sha256(canonical.encode()).hexdigest()[:12])


def _problem(error: ErrorDetails) -> str:
    """What pydantic found, with the rule and the field."""
    number, *field = error["loc"] or ("",)
    if not field:
        return "write each rule as a table below [[rules]]"
    place = f"rule {int(number) + 1}"
    if error["type"] == "missing":
        return f"{place}: field {field[0]!r} is missing"
    if error["type"] == "unexpected_keyword_argument":
        return f"{place}: unknown field {field[0]!r}; known are name, when, queue and priority"
    why = error["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    return f"{place}: {field[0]} is {error['input']!r}; {why}"


def scores_of(
    prediction: Prediction, *, degraded: float = 0.0, unread: bool = False
) -> dict[str, float]:
    """Every score of `SCORE_NAMES` that this prediction has.

    Args:
        degraded: the share of the post's images that could not be seen.
        unread: whether anything of the post was not read: a score of 1, else 0.
    """
    scores = {"degraded": degraded, "unread": float(unread), **_named("", prediction.fused)}
    answers = {name: getattr(prediction.fused, name) for name in OF_WORDS}
    scores |= {name: value for name, value in answers.items() if value is not None}
    if prediction.text_alone:
        scores |= _named("text_alone.", prediction.text_alone)
    if prediction.image_alone:
        scores |= _named("image_alone.", prediction.image_alone)
    if (disagreement := prediction.disagreement) is not None:
        scores["disagreement"] = disagreement
    if (opposition := prediction.opposition) is not None:
        scores["opposition"] = opposition
    return scores


def _named(read_out: str, scores: Scores) -> dict[str, float]:
    sentiment = scores.sentiment._asdict()
    return {f"{read_out}sentiment.{label}": p for label, p in sentiment.items()} | {
        f"{read_out}sarcasm": scores.sarcasm
    }
