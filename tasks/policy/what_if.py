"""What another policy would have flagged, of what was judged and decided: the real rules again."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from deadpan.core.errors import PolicyError
from deadpan.core.people_files import toml_of
from models.posts.prediction import Prediction, Scores, Sentiment
from storage.reports.judged import Judged, Sample
from storage.reports.recall import (
    Estimate,
    FlagGroup,
    LookGroup,
    recall_and_precision,
    weighted_count,
)
from storage.tables import OF_WORDS, SENTIMENTS, Verdict
from tasks.policy.rules import LANGUAGE, Policy, Reason, Rule, parse_policy, scores_of


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a policy means for moderators.

    Attributes:
        flags_per_day: with its interval, for most posts are known by a sample alone.
        queues, rules: flags a day by queue, and by rule; several rules may fire for a flag.
        hours_per_day: of moderators, at the pace of now; None where no pace is known.
        precision: None where none of its flags was decided.
        recall: None without looks at unflagged posts.
    """

    flags_per_day: Estimate
    queues: Mapping[str, float]
    rules: Mapping[str, float]
    hours_per_day: float | None
    precision: Estimate | None
    recall: Estimate | None


@dataclass(frozen=True, slots=True)
class Change:
    """Two policies, of the same posts.

    Attributes:
        sampled: verdicts that were judged again.
        stand_for: verdicts of that time, these among them.
        days: over which they came.
        appear, vanish: posts of the sample that only the new one, or only the old one flags.
    """

    before: Outlook
    after: Outlook
    sampled: int
    stand_for: int
    days: float
    appear: Sequence[Judged]
    vanish: Sequence[Judged]


def what_if(before: Policy, after: Policy, sample: Sample, *, examples: int = 10) -> Change:
    """Judges a sample by two policies."""
    appear, vanish = [], []
    fired: list[tuple[list[tuple[Judged, Sequence[Reason]]], ...]] = []
    for judged in (sample.flags, sample.unflagged, sample.looks):
        both = [(each, *_judged(each.verdict, before, after)) for each in judged]
        if judged is not sample.looks:
            appear += [each for each, old, new in both if new and not old]
            vanish += [each for each, old, new in both if old and not new]
        fired.append(
            (
                [(each, old) for each, old, _ in both],
                [(each, new) for each, _, new in both],
            )
        )
    outlooks = [_outlook(sample, *(parts[which] for parts in fired)) for which in (0, 1)]
    return Change(
        outlooks[0],
        outlooks[1],
        len(sample.flags) + len(sample.unflagged),
        round(sum(each.stands_for for each in (*sample.flags, *sample.unflagged))),
        sample.days,
        appear[:examples],
        vanish[:examples],
    )


def with_threshold(policy: Policy, rule: str, threshold: float) -> Policy:
    """The policy with another threshold in the first condition of a rule that has a number.

    Raises:
        PolicyError: there is no such rule, its conditions are about the language alone, or the
            threshold is none.
    """
    if not 0 <= threshold <= 1:
        raise PolicyError(f"threshold {threshold:g} must be between 0 and 1, as every score is")
    old, place = rule_and_place(policy, rule)
    conditions = list(old.conditions)
    conditions[place] = replace(conditions[place], threshold=threshold)
    rules = [
        {
            "name": each.name,
            "when": " and ".join(
                f"{c.score} {c.comparison} {c.threshold}"
                for c in (conditions if each is old else each.conditions)
            ),
            "queue": each.queue,
            "priority": each.priority,
        }
        for each in policy.rules
    ]
    return parse_policy({"rules": rules})


def rule_and_place(policy: Policy, rule: str) -> tuple[Rule, int]:
    """A rule, and which of its conditions is the first that has a number.

    Raises:
        PolicyError: there is no such rule, or its conditions are about the language alone.
    """
    names = [each.name for each in policy.rules]
    if rule not in names:
        raise PolicyError(f"there is no rule {rule[:80]!r}; rules are {', '.join(names)}")
    found = policy.rules[names.index(rule)]
    place = next((n for n, c in enumerate(found.conditions) if c.score != LANGUAGE), None)
    if place is None:
        raise PolicyError(f"rule {rule!r} asks for the language alone; it has no threshold")
    return found, place


def text_with_threshold(text: str, rule: str, threshold: float) -> str:
    """A policy's TOML with another threshold in a rule, and else as it was written.

    Raises:
        PolicyError: as `with_threshold`, or the rule is written in a way that this cannot change.
    """
    data = toml_of(text)
    old = parse_policy(data)
    wanted = with_threshold(old, rule, threshold).version
    condition = old.rules[[r.name for r in old.rules].index(rule)].conditions[
        rule_and_place(old, rule)[1]
    ]
    when = next(each["when"] for each in data["rules"] if each["name"] == rule)
    score = rf"({re.escape(condition.score)}\s*{condition.comparison}\s*)[0-9.]+"
    changed = re.sub(score, rf"\g<1>{threshold:g}", when, count=1)
    # The same sentence may stand elsewhere, in a comment or another rule: the right place is the
    # one that makes the policy that is wanted.
    for place in re.finditer(re.escape(when), text):
        tried = text[: place.start()] + changed + text[place.end() :]
        if parse_policy(toml_of(tried)).version == wanted:
            return tried
    raise PolicyError(f"rule {rule!r} has its `when` in an unusual form; edit the policy itself")


def scores_of_verdict(verdict: Verdict) -> dict[str, float]:
    """Every score that a stored verdict has, as the policy was asked about them.

    How many pictures a post had is not stored. Where none was seen the share that could not be seen
    is 1; where some were, it is taken to be one more.
    """
    unseen = len(verdict.degraded)
    degraded = 0.0 if not unseen else 1.0 if verdict.image_alone is None else unseen / (unseen + 1)
    fused = {name: getattr(verdict, name) for name in (*SENTIMENTS, "sarcasm", *OF_WORDS)}
    prediction = Prediction(_scores(fused), _alone(verdict.text_alone), _alone(verdict.image_alone))
    return scores_of(
        prediction,
        degraded=degraded,
        unread=bool(verdict.unread),
        unlearnt=verdict.unlearnt,
    )


def _scores(given: Mapping[str, float | None]) -> Scores:
    rest = {name: value for name, value in given.items() if name not in SENTIMENTS}
    sentiment = Sentiment(**{name: given[name] for name in SENTIMENTS})  # type: ignore[arg-type]
    return Scores(sentiment, **rest)  # type: ignore[arg-type]


def _alone(given: Mapping[str, float] | None) -> Scores | None:
    return None if given is None else _scores(given)


def _judged(
    verdict: Verdict, before: Policy, after: Policy
) -> tuple[Sequence[Reason], Sequence[Reason]]:
    scores = scores_of_verdict(verdict)
    language = verdict.language
    return before.reasons_for(scores, language), after.reasons_for(scores, language)


_Fired = Sequence[tuple[Judged, Sequence[Reason]]]


def _outlook(sample: Sample, flags: _Fired, unflagged: _Fired, looks: _Fired) -> Outlook:
    counts: Counter[float] = Counter()
    queues: dict[str, float] = defaultdict(float)
    rules: dict[str, float] = defaultdict(float)
    for each, reasons in (*flags, *unflagged):
        if reasons:
            counts[each.stands_for] += 1
            queues[reasons[0].queue] += each.stands_for / sample.days
            for reason in reasons:
                rules[reason.rule] += each.stands_for / sample.days
    weights = {each.stands_for for each, _ in unflagged}
    per_day = a_day(counts, weights, sample.days)
    rates = recall_and_precision(*_groups([*flags, *looks]))
    seconds = sample.seconds_each
    return Outlook(
        per_day,
        dict(sorted(queues.items())),
        dict(sorted(rules.items())),
        None if seconds is None else per_day.value * seconds / 3600,
        rates.everything.precision,
        rates.everything.recall if looks else None,
    )


def a_day(counts: Mapping[float, int], weights: Set[float], days: float) -> Estimate:
    """Posts a day.

    Args:
        counts: posts of the sample, by what each stands for.
        weights: what unflagged posts of the sample stand for, counted or not.
    """
    # A weight of 1 is a post that was counted, not drawn: it adds no uncertainty.
    known = counts.get(1.0, 0)
    drawn = [(weight, number) for weight, number in counts.items() if weight != 1]
    drawn += [(weight, 0) for weight in weights - {1.0} - counts.keys()]
    if not drawn:
        return Estimate(known / days, known / days, known / days)
    total = weighted_count(drawn)
    return Estimate(*((known + each) / days for each in (total.value, total.low, total.high)))


def _groups(judged: _Fired) -> tuple[list[FlagGroup], list[LookGroup]]:
    """What is flagged and what is not, as if it had been drawn with what it stands for."""
    flagged: dict[tuple[str, tuple[str, ...], float], list[int]] = defaultdict(lambda: [0, 0, 0])
    missed: dict[float, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each, reasons in judged:
        if reasons:
            rules = tuple(sorted(reason.rule for reason in reasons))
            numbers = flagged[reasons[0].queue, rules, each.stands_for]
        else:
            numbers = missed[each.stands_for]
        numbers[0] += 1
        numbers[1] += each.removed is not None
        numbers[2] += bool(each.removed)
    return (
        [
            FlagGroup(queue, rules, round(weight * n[0]), n[1], n[2])
            for (queue, rules, weight), n in sorted(flagged.items())
        ],
        [LookGroup(1 / weight, *n) for weight, n in sorted(missed.items())],
    )
