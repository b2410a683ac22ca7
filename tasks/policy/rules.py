"""Policy: versioned rules in TOML that turn a prediction into zero or more reasons."""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf
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
from models.posts.language import stated
from models.posts.prediction import OF_WORDS, SENTIMENTS, Prediction, Scores
from storage.base.text import UNKNOWN_LANGUAGE
from tasks.policy.order_table import parse_order
from tasks.policy.promises import FIELD as PROMISE
from tasks.policy.promises import parse_queues, seconds_of
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
    "unlearnt",
)
"""Every score that a rule may speak of; each is between 0 and 1."""

LANGUAGE = "language"
"""What else a rule may speak of: `language == de`, `language != en`."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_IS_OR_IS_NOT: dict[str, Callable[[str, str], bool]] = {"==": operator.eq, "!=": operator.ne}
_CONDITION = re.compile(r"\s*([a-z_.]+)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")
_OF_LANGUAGE = re.compile(rf"\s*{LANGUAGE}\b\s*(\S*?)\s*([\w.-]*)\s*")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a score with a threshold, or of the post's language with another."""

    score: str
    comparison: str
    threshold: float | str

    def holds(self, values: Mapping[str, float | str]) -> bool:
        """Whether the post has the score, or a language, and the comparison holds."""
        value, threshold = values.get(self.score), self.threshold
        if isinstance(value, str) and isinstance(threshold, str):
            return _IS_OR_IS_NOT[self.comparison](value, threshold)
        if value is None or isinstance(value, str) or isinstance(threshold, str):
            return False
        return _COMPARISONS[self.comparison](value, threshold)

    def shortfall(self, values: Mapping[str, float | str]) -> float:
        """How much the score lacks for the comparison to hold: 0 where it holds, infinity where no
        score would do."""
        value, threshold = values.get(self.score), self.threshold
        if self.holds(values):
            return 0.0
        if value is None or isinstance(value, str) or isinstance(threshold, str):
            return inf
        return abs(threshold - value)


def _conditions(when: object) -> tuple[Condition, ...]:
    if not isinstance(when, str):
        raise ValueError("write a sentence such as 'sarcasm >= 0.7'")
    conditions, problems = [], []
    for part in re.split(r"\sand\s", when):
        if of_language := _OF_LANGUAGE.fullmatch(part):
            comparison, language = of_language.groups()
            if problem := _language_problem(comparison, language):
                problems.append(f"cannot read {part.strip()!r}; {problem}")
            conditions.append(Condition(LANGUAGE, comparison, language))
            continue
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


def _language_problem(comparison: str, language: str) -> str | None:
    """What is wrong with a condition about the language; None if nothing is."""
    if comparison not in _IS_OR_IS_NOT:
        return f"a language is compared with == or !=, as in '{LANGUAGE} == de'"
    if language == UNKNOWN_LANGUAGE:
        return f"of a post whose language is unknown, no condition about {LANGUAGE} holds"
    if not _LANGUAGE.fullmatch(language):
        return "name a language by the two or three small letters of ISO 639, such as de or pt"
    if (name := stated(language)) != language:
        return f"write {name}" if name else "that is no language"
    return None


def _name(given: str) -> str:
    if not _NAME.fullmatch(given):
        raise ValueError("use at most 64 lower-case letters, digits, - and _")
    return given


_Name = Annotated[str, AfterValidator(_name)]


@pydantic_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Rule:
    """When all conditions hold, the post is flagged in `queue` with `priority` (0 to 100), and a
    human decides within `decide_within` seconds, where that is promised.
    """

    name: _Name
    conditions: Annotated[
        tuple[Condition, ...], Field(validation_alias="when"), BeforeValidator(_conditions)
    ]
    queue: _Name
    priority: Annotated[int, Field(strict=True, ge=0, le=100)]
    decide_within: Annotated[int | None, BeforeValidator(seconds_of)] = None

    def shortfall(self, scores: Mapping[str, float], language: str | None = None) -> float:
        """How much the score that lacks most lacks for the rule to fire; see `Condition`."""
        values = _values(scores, language)
        return max((each.shortfall(values) for each in self.conditions), default=0.0)


_RULES = TypeAdapter(list[Rule])


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that fired, with the scores that made it fire.

    Attributes:
        conditions: one mapping for each condition: score, comparison, threshold, value; of the
            language, the last two are words.
        decide_within_seconds: what is promised, by the rule itself or else by its queue.
    """

    rule: str
    queue: str
    priority: int
    conditions: tuple[Mapping[str, Any], ...]
    decide_within_seconds: int | None = None

    def as_row(self) -> dict[str, Any]:
        """As it is stored with a flag."""
        row = {**asdict(self), "conditions": [dict(c) for c in self.conditions]}
        if self.decide_within_seconds is None:
            del row["decide_within_seconds"]
        return row

    def __str__(self) -> str:
        return " and ".join(map(condition_text, self.conditions))


def condition_text(condition: Mapping[str, Any]) -> str:
    """A condition that held, of a reason or of its row: `sarcasm 0.81 >= 0.7`."""
    score, comparison = condition["score"], condition["comparison"]
    value, threshold = condition["value"], condition["threshold"]
    if score == LANGUAGE:
        return f"{score} {value} {comparison} {threshold}"
    return f"{score} {value:.2f} {comparison} {threshold:g}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules and the version that names them: it changes when, and only when, what a rule asks for
    or does changes. Reason codes, time promises and the order of flags judge nothing, so they are
    no part of it.

    Attributes:
        queue_promises: seconds, by queue, within which a human decides what no rule promises.
    """

    rules: tuple[Rule, ...]
    version: str
    queue_promises: Mapping[str, int] = field(default_factory=dict)

    def reasons_for(
        self, scores: Mapping[str, float], language: str | None = None
    ) -> tuple[Reason, ...]:
        """The rules that fire, most urgent first; none means that the post is not flagged.

        Args:
            scores: that the post has, of `SCORE_NAMES`.
            language: of the post; None where nobody can tell.
        """
        values = _values(scores, language)
        fired = [
            Reason(
                rule.name,
                rule.queue,
                rule.priority,
                tuple({**asdict(c), "value": values[c.score]} for c in rule.conditions),
                rule.decide_within or self.queue_promises.get(rule.queue),
            )
            for rule in self.rules
            if all(condition.holds(values) for condition in rule.conditions)
        ]
        return tuple(sorted(fired, key=lambda reason: -reason.priority))


def _values(scores: Mapping[str, float], language: str | None) -> dict[str, float | str]:
    """What conditions are about."""
    return {**scores} if language is None else {**scores, LANGUAGE: language}


def load_policy(path: str = "") -> Policy:
    """Read and check a policy's TOML file; without a path the policy that ships with Deadpan.

    Raises PolicyError with everything that is wrong in it.
    """
    return parse_policy(read_policy(path), shown=path or SHIPPED)


def parse_policy(data: Mapping[str, Any], *, shown: str = "policy") -> Policy:
    """Check a policy's data and give it its version; raises as `load_policy`."""
    problems = [
        f"{shown}: unknown field {key!r}; known are [[rules]], [queues.NAME], [reason_codes] and "
        "[order]"
        for key in sorted(data.keys() - {"rules", "queues", "reason_codes", "order"})
    ]
    if "reason_codes" in data:
        problems += parse_reason_codes(data["reason_codes"], shown=shown)[1]
    problems += parse_order(data.get("order", {}), shown=shown)[1]
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
    promises: Mapping[str, int] = {}
    if "queues" in data and rules:
        queues = frozenset(rule.queue for rule in rules)
        promises, wrong = parse_queues(data["queues"], queues, shown=shown)
        problems += wrong
    if problems:
        raise PolicyError(problems)
    judging = [{k: v for k, v in asdict(rule).items() if k != PROMISE} for rule in rules]
    canonical = json.dumps(judging, sort_keys=True)
    return Policy(tuple(rules), hashlib.sha256(canonical.encode()).hexdigest()[:12], promises)


def _problem(error: ErrorDetails) -> str:
    """What pydantic found, with the rule and the field."""
    number, *where = error["loc"] or ("",)
    if not where:
        return "write each rule as a table below [[rules]]"
    place = f"rule {int(number) + 1}"
    if error["type"] == "missing":
        return f"{place}: field {where[0]!r} is missing"
    if error["type"] == "unexpected_keyword_argument":
        known = f"name, when, queue, priority and {PROMISE}"
        return f"{place}: unknown field {where[0]!r}; known are {known}"
    why = error["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    return f"{place}: {where[0]} is {error['input']!r}; {why}"


def scores_of(
    prediction: Prediction, *, degraded: float = 0.0, unread: bool = False, unlearnt: bool = False
) -> dict[str, float]:
    """Every score of `SCORE_NAMES` that this prediction has.

    Args:
        degraded: the share of the post's images that could not be seen.
        unread: whether anything of the post was not read: a score of 1, else 0.
        unlearnt: whether the post is in a language that the model never learnt: a score of 1, else
            0.
    """
    scores = {
        "degraded": degraded,
        "unread": float(unread),
        "unlearnt": float(unlearnt),
        **_named("", prediction.fused),
    }
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
