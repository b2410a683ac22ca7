"""The threshold of a rule that reaches a goal, found in a sample of what was judged and decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from deadpan.core.errors import PolicyError
from storage.reports.judged import Judged, Sample
from storage.reports.recall import Estimate
from storage.reports.statistics import wilson
from tasks.policy.rules import LANGUAGE, Policy
from tasks.policy.what_if import a_day, rule_and_place, scores_of_verdict

#: Of fewer decided flags a precision of 80 % has an interval of more than 28 points.
ENOUGH: Final = 30
_STEPS: Final = 100


@dataclass(frozen=True, slots=True)
class Found:
    """The threshold that reaches a goal and changes as little as it must.

    Attributes:
        threshold: a multiple of 0.01, or the one in use where that reaches it.
        reached: the precision of the rule's flags, or its flags a day, with 95 % interval.
        decided: flags behind a precision; None for flags a day.
    """

    threshold: float
    reached: Estimate
    decided: int | None = None


def for_precision(policy: Policy, rule: str, sample: Sample, goal: float) -> Found:
    """The least strict threshold, from the one in use on, with a precision of at least `goal`.

    Only decided flags tell, and of a lower threshold there are none but those of other rules: so
    it is never lowered.

    Raises:
        PolicyError: there is no such rule, no threshold reaches the goal, or too few flags are
            decided to say so.
    """
    if not 0 < goal <= 1:
        raise PolicyError(f"precision {goal:g} must be above 0 and at most 1: 0.8 is 80 %")
    fires = _Fires(policy, rule)
    decided = [each for each in sample.flags if each.removed is not None]
    best = 0.0
    for threshold in fires.stricter():
        left = fires.at(threshold, decided)
        if len(left) < ENOUGH:
            if threshold == fires.now:
                break
            raise PolicyError(
                f"no threshold of {rule!r} with {ENOUGH} decided flags or more reaches a precision "
                f"of {goal:.0%}; the highest is {best:.0%}. Ask for less"
            )
        removed = sum(bool(each.removed) for each in left)
        best = max(best, removed / len(left))
        if removed >= goal * len(left):
            low, high = wilson(removed, len(left))
            return Found(threshold, Estimate(removed / len(left), low, high), len(left))
    raise PolicyError(
        f"of the flags of {rule!r} too few are decided, {len(fires.at(fires.now, decided))}; "
        f"{ENOUGH} are needed. Look further back, or wait for more decisions"
    )


def for_flags_a_day(policy: Policy, rule: str, sample: Sample, goal: float) -> Found:
    """The least strict threshold with which the rule fires for at most `goal` posts a day.

    Raises:
        PolicyError: there is no such rule, or no threshold has so few.
    """
    if not goal >= 0:
        raise PolicyError(f"flags a day are {goal:g}; give 0 or more")
    fires = _Fires(policy, rule)
    judged = [*sample.flags, *sample.unflagged]
    weights = {each.stands_for for each in sample.unflagged}
    for threshold in fires.all():
        counts = Counter(each.stands_for for each in fires.at(threshold, judged))
        number = a_day(counts, weights, sample.days)
        if number.value <= goal:
            return Found(threshold, number)
    raise PolicyError(
        f"at its strictest threshold {rule!r} still flags {number.value:.1f} posts a day, more "
        f"than {goal:g}; ask for more, or for other conditions"
    )


class _Fires:
    """For which posts a rule fires, at any threshold of its first score."""

    def __init__(self, policy: Policy, rule: str) -> None:
        old, self._place = rule_and_place(policy, rule)
        self._moved = old.conditions[self._place]
        self._rest = [c for n, c in enumerate(old.conditions) if n != self._place]
        self._known: dict[int, float | None] = {}
        assert not isinstance(self._moved.threshold, str)
        self.now = self._moved.threshold

    def all(self) -> list[float]:
        """Every threshold, the least strict first."""
        steps = [step / _STEPS for step in range(_STEPS + 1)]
        return steps if self._moved.comparison in (">=", ">") else steps[::-1]

    def stricter(self) -> list[float]:
        """The one in use, and those that are stricter."""
        upward = self._moved.comparison in (">=", ">")
        return [self.now, *(t for t in self.all() if (t > self.now if upward else t < self.now))]

    def at(self, threshold: float, judged: Sequence[Judged]) -> list[Judged]:
        """The posts for which it fires."""
        moved = replace(self._moved, threshold=threshold)
        score = moved.score
        return [
            each
            for each in judged
            if (value := self._value(each)) is not None and moved.holds({score: value})
        ]

    def _value(self, each: Judged) -> float | None:
        """The score; None where the post has none, or another condition does not hold."""
        number = id(each.verdict)
        if number not in self._known:
            values: dict[str, float | str] = {**scores_of_verdict(each.verdict)}
            if each.verdict.language is not None:
                values[LANGUAGE] = each.verdict.language
            holds = all(condition.holds(values) for condition in self._rest)
            value = values.get(self._moved.score) if holds else None
            self._known[number] = None if isinstance(value, str) else value
        return self._known[number]
