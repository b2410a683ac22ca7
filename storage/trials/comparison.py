"""How a challenger and the champion compare, over posts that both judged."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from storage import tables
from storage.flags.decided import is_undone
from storage.reports.labelled import last_known
from storage.reports.statistics import Paired, Share, Shift, cohen_kappa
from storage.tables import OF_WORDS, SCORES, SENTIMENTS, YES, decisions
from storage.trials.trials import (
    ANSWERS,
    Trial,
    answer,
    pairs,
    scores_of,
    sentiment_in_sql,
    trials,
)

_LABELS: Final = {"sentiment": "sentiment", "sarcastic": "sarcasm", "offensive": "offensive"}
"""What moderators label, and the question that it answers."""


@dataclass(frozen=True, slots=True)
class Example:
    """A post that the two see differently.

    Attributes:
        distance: 0 to 1; the total variation of the two sentiments, or the difference of the two
            probabilities of another answer that both gave, whichever is larger.
        champion, challenger: negative, neutral, positive, sarcasm; offensive and hateful where the
            model said so.
    """

    post_id: str
    distance: float
    champion: Mapping[str, float]
    challenger: Mapping[str, float]
    champion_rules: Sequence[str]
    challenger_rules: Sequence[str]


@dataclass(frozen=True, slots=True)
class Flags:
    """What the policy would make of the challenger's scores.

    Attributes:
        champion, challenger: shares of posts that are flagged.
        both, removed, added: flagged by both, by the champion alone, by the challenger alone.
        added_by_rule, removed_by_rule: posts for which a rule fires with one of them alone.
    """

    champion: Share
    challenger: Share
    both: int
    removed: int
    added: int
    added_by_rule: Mapping[str, int]
    removed_by_rule: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often both answer a question alike, of the posts where both answer it.

    Attributes:
        confusion: posts by answer, in the order of `ANSWERS`; a row for each of the champion's and
            a column for each of the challenger's.
    """

    share: Share
    kappa: float | None
    confusion: Sequence[Sequence[int]]

    @classmethod
    def of(cls, counts: Counter[tuple[int, int]], answers: int) -> Self:
        """From posts by (champion's answer, challenger's answer)."""
        each = range(answers)
        return cls(
            Share.of(sum(counts[i, i] for i in each), counts.total()),
            cohen_kappa(list(counts.elements())),
            [[counts[i, j] for j in each] for i in each],
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """What moderators said of posts that both judged. They saw the champion's flags and scores.

    Attributes:
        right: by question, who was right where a moderator labelled the post and both answered.
        dropped: of decided flags that the challenger would not open, those that were approved;
            the others would be missed.
        kept: of decided flags that both open, those that were removed.
    """

    right: Mapping[str, Paired]
    dropped: Share
    kept: Share


@dataclass(frozen=True, slots=True)
class Brief:
    """The few figures of a trial that a page shows: see `Comparison`.

    Attributes:
        agreement: by question, how often both answer alike, of the posts where both answer it.
    """

    trial: Trial
    posts: int
    agreement: Mapping[str, Share]
    removed: int
    added: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that is known of a trial.

    Attributes:
        posts: how many both judged.
        agreement: by question, as `ANSWERS` has them.
        shifts: by score, challenger minus champion, of the posts where both have it.
    """

    trial: Trial
    posts: int
    agreement: Mapping[str, Agreement]
    flags: Flags
    shifts: Mapping[str, Shift]
    decided: Decided
    examples: Sequence[Example]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        found = asdict(self)
        for name in ("first", "last"):
            found["trial"][name] = getattr(self.trial, name).isoformat()
        return found


def compare(
    connection: Connection,
    trial: Trial,
    *,
    since: datetime | None = None,
    examples: int = 10,
) -> Comparison:
    """Compares the two models of a trial, post by post, in one pass that holds no list of them;
    `examples` is how many of the largest differences to keep.
    """
    seen = _Seen(examples)
    for row in connection.execute(pairs(trial, since).execution_options(yield_per=1000)):
        seen.add(row)
    return seen.result(trial, _decided(connection, trial, since))


def brief(connection: Connection, *, since: datetime) -> Brief | None:
    """Returns the figures of the latest trial since then, counted by the database, if any."""
    found = trials(connection, since=since)
    if not found:
        return None
    both = pairs(found[0], since).subquery()
    ours, theirs = (
        {name: both.c[prefix + name] for name in (*SCORES, *OF_WORDS)}
        for prefix in ("", "champion_")
    )
    flagged, was_flagged = both.c.rules != [], both.c.champion_rules != []

    def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    # A score that one of the two does not have makes the comparison NULL, which is not counted.
    same = {
        question: sentiment_in_sql(ours) == sentiment_in_sql(theirs)
        if question == "sentiment"
        else (ours[question] >= YES) == (theirs[question] >= YES)
        for question in ANSWERS
    }
    n, removed, added, *counts = connection.execute(
        select(
            func.count(),
            number(and_(was_flagged, ~flagged)),
            number(and_(flagged, ~was_flagged)),
            *(number(condition) for condition in same.values()),
            *(number(condition.is_not(None)) for condition in same.values()),
        ).select_from(both)
    ).one()
    alike, answered = counts[: len(same)], counts[len(same) :]
    agreement = {
        question: Share.of(int(alike[index]), int(answered[index]))
        for index, question in enumerate(same)
    }
    return Brief(found[0], n, agreement, int(removed), int(added))


@dataclass(slots=True)
class _Seen:
    """Sums over the posts of a trial."""

    wanted: int
    posts: int = 0
    answers: dict[str, Counter[tuple[int, int]]] = field(
        default_factory=lambda: {question: Counter() for question in ANSWERS}
    )
    flags: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    sums: dict[str, list[float]] = field(
        default_factory=lambda: {name: [0.0, 0.0, 0.0] for name in (*SCORES, *OF_WORDS)}
    )
    both_have: Counter[str] = field(default_factory=Counter)
    differing: list[tuple[float, str, Example]] = field(default_factory=list)

    def add(self, row: Row[Any]) -> None:
        challenger, champion = scores_of(row), scores_of(row, "champion_")
        self.posts += 1
        differ = False
        for question, counts in self.answers.items():
            first, second = answer(champion, question), answer(challenger, question)
            if first is not None and second is not None:
                counts[first, second] += 1
                differ = differ or first != second
        self.flags[bool(row.champion_rules), bool(row.rules)] += 1
        self.added.update(set(row.rules) - set(row.champion_rules))
        self.removed.update(set(row.champion_rules) - set(row.rules))
        for name in challenger.keys() & champion.keys():
            self.both_have[name] += 1
            difference = challenger[name] - champion[name]
            for index, value in enumerate((difference, difference**2, abs(difference))):
                self.sums[name][index] += value
        if differ:
            self._keep(row, champion, challenger)

    def _keep(
        self, row: Row[Any], champion: Mapping[str, float], challenger: Mapping[str, float]
    ) -> None:
        varied = 0.5 * sum(abs(champion[name] - challenger[name]) for name in SENTIMENTS)
        others = (champion.keys() & challenger.keys()) - set(SENTIMENTS)
        distance = max(varied, *(abs(champion[name] - challenger[name]) for name in others))
        example = Example(
            row.post_id, distance, champion, challenger, row.champion_rules, row.rules
        )
        # A post that was changed may be there twice, with the same distance even.
        entry = (distance, f"{row.post_id}\0{self.posts}", example)
        if len(self.differing) < self.wanted:
            heapq.heappush(self.differing, entry)
        elif self.differing:
            heapq.heappushpop(self.differing, entry)

    def result(self, trial: Trial, decided: Decided) -> Comparison:
        n = self.posts
        both, removed = self.flags[True, True], self.flags[True, False]
        added = self.flags[False, True]
        return Comparison(
            trial=trial,
            posts=n,
            agreement={
                question: Agreement.of(counts, len(ANSWERS[question]))
                for question, counts in self.answers.items()
            },
            flags=Flags(
                Share.of(both + removed, n),
                Share.of(both + added, n),
                both,
                removed,
                added,
                dict(self.added.most_common()),
                dict(self.removed.most_common()),
            ),
            shifts={
                name: Shift.of(self.both_have[name], *sums) for name, sums in self.sums.items()
            },
            decided=decided,
            examples=[entry[2] for entry in sorted(self.differing, reverse=True)],
        )


def _decided(connection: Connection, trial: Trial, since: datetime | None) -> Decided:
    made, verdicts = decisions.c, tables.verdicts.c
    statement = (
        pairs(
            trial,
            since,
            verdicts.id,
            made.action,
            # a verdict has a score of that name, too
            *(made[name].label(f"said_{name}") for name in _LABELS),
        )
        .join(decisions, made.verdict_id == verdicts.id)
        .where(made.action != "undo", ~is_undone())
        .order_by(verdicts.id, made.id)
        .execution_options(yield_per=1000)
    )
    right = {question: Counter[tuple[bool, bool]]() for question in _LABELS.values()}
    dropped, kept = Counter[str](), Counter[str]()
    for row, action, labels in _last_said(connection.execute(statement)):
        champion, challenger = scores_of(row, "champion_"), scores_of(row)
        for question, truth in labels.items():
            first, second = answer(champion, question), answer(challenger, question)
            if first is not None and second is not None:
                right[question][first == truth, second == truth] += 1
        if action is not None and row.champion_rules:
            (kept if row.rules else dropped)[action] += 1
    return Decided(
        {question: Paired.of(counts) for question, counts in right.items()},
        Share.of(dropped["approve"], dropped.total()),
        Share.of(kept["remove"], kept.total()),
    )


def _last_said(
    rows: Iterable[Row[Any]],
) -> Iterator[tuple[Row[Any], str | None, dict[str, int]]]:
    """Of each verdict its last settled action, if any, and by question its last labels, each by its
    place in `ANSWERS`.
    """
    for _, group in groupby(rows, key=lambda row: row.id):
        said = list(group)
        settled = (row.action if row.action in ("approve", "remove") else None for row in said)
        labels = {
            question: last_known(getattr(row, f"said_{name}") for row in said)
            for name, question in _LABELS.items()
        }
        places = {
            question: SENTIMENTS.index(label) if question == "sentiment" else int(label)
            for question, label in labels.items()
            if label is not None
        }
        yield said[-1], last_known(settled), places
