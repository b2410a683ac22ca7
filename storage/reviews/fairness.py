"""What second looks and known answers add up to: agreement, and how often each was right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from storage import tables
from storage.reports.statistics import cohen_kappa, krippendorff_alpha, wilson
from storage.tables import decisions, moderators, review_votes, reviews


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Of two moderators: flags that both decided, how many of them alike, and Cohen's kappa; None
    where it is undefined.
    """

    first: str
    second: str
    looks: int
    same: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class GroupAgreement:
    """Of everybody, on the flags of a queue or on whether a reason code is the right one.

    Attributes:
        looks: flags that two decided; for a reason code, those for which at least one chose it.
        same: how many of them alike.
        alpha: Krippendorff's, nominal; None where it is undefined. For a reason code it is
            computed over all flags, with "chose it" and "did not" as values.
    """

    name: str
    looks: int
    same: int
    alpha: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much moderators agree, by the sample of decisions that had a blind second look."""

    looks: int
    same: int
    alpha: float | None
    pairs: list[PairAgreement]
    queues: list[GroupAgreement]
    reasons: list[GroupAgreement]


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often somebody gave the known answer, with Wilson's 95 % interval of `value`."""

    moderator: str
    hits: int
    answered: int
    value: float
    low: float
    high: float


class _Said(NamedTuple):
    queue: str
    names: tuple[str, str]
    actions: tuple[str, str]
    reasons: tuple[str | None, str | None]


def agreement(connection: Connection, *, since: datetime) -> Agreement:
    """Returns how much moderators agreed in second looks since then.

    Only the sample counts: looks opened because people disagreed, and appeals, are about what is
    disputed, and would make agreement look worse than it is.
    """
    said = _sample(connection, since)
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for each in said:
        (one, what), (two, other) = sorted(zip(each.names, each.actions, strict=True))
        pairs[one, two].append((what, other))
    codes = sorted({code for each in said for code in each.reasons if code})
    actions = [each.actions for each in said]
    return Agreement(
        looks=len(said),
        same=_same(actions),
        alpha=krippendorff_alpha(actions),
        pairs=[
            PairAgreement(one, two, len(both), _same(both), cohen_kappa(both))
            for (one, two), both in sorted(pairs.items())
        ],
        queues=[
            GroupAgreement(queue, len(both), _same(both), krippendorff_alpha(both))
            for queue in sorted({each.queue for each in said})
            for both in [[each.actions for each in said if each.queue == queue]]
        ],
        reasons=[_of_code(code, said) for code in codes],
    )


def hit_rates(connection: Connection, *, since: datetime) -> list[HitRate]:
    """Returns how often each moderator gave the known answer since then, by name."""
    votes = review_votes.c
    rows = connection.execute(
        select(moderators.c.name, votes.action == reviews.c.expected, func.count())
        .select_from(review_votes)
        .join(reviews, reviews.c.id == votes.review_id)
        .join(moderators, moderators.c.id == votes.moderator_id)
        .where(
            reviews.c.kind == "known",
            votes.action.in_(("approve", "remove")),
            votes.created_at >= since,
        )
        .group_by(moderators.c.name, votes.action == reviews.c.expected)
    )
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, right, number in rows:
        counted[name][bool(right)] += number
    found = []
    for name, (misses, hits) in sorted(counted.items()):
        low, high = wilson(hits, hits + misses)
        found.append(HitRate(name, hits, hits + misses, hits / (hits + misses), low, high))
    return found


def _of_code(code: str, said: Sequence[_Said]) -> GroupAgreement:
    chose = [tuple(reason == code for reason in each.reasons) for each in said]
    named = [both for both in chose if any(both)]
    return GroupAgreement(code, len(named), _same(named), krippendorff_alpha(chose))


def _same(both: Iterable[Sequence[Any]]) -> int:
    return sum(first == second for first, second in both)


def _sample(connection: Connection, since: datetime) -> list[_Said]:
    first, second = moderators.alias("first"), moderators.alias("second")
    votes = review_votes.c
    statement = (
        select(
            tables.flags.c.queue,
            first.c.name,
            second.c.name,
            decisions.c.action,
            votes.action,
            decisions.c.reason_code,
            votes.reason_code,
        )
        .select_from(review_votes)
        .join(reviews, reviews.c.id == votes.review_id)
        .join(decisions, decisions.c.id == reviews.c.decision_id)
        .join(tables.flags, tables.flags.c.id == reviews.c.flag_id)
        .join(first, first.c.id == decisions.c.moderator_id)
        .join(second, second.c.id == votes.moderator_id)
        .where(
            reviews.c.kind == "sample",
            votes.settles.is_(False),
            votes.action != "skip",
            votes.created_at >= since,
        )
        .order_by(votes.id)
    )
    return [
        _Said(queue, (one, two), (what, other), (why, also))
        for queue, one, two, what, other, why, also in connection.execute(statement)
    ]
