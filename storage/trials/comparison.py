"""How a challenger and the champion compare, over posts that both judged."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from storage import tables
from storage.flags.decided import is_undone
from storage.reports.labelled import last_known
from storage.reports.statistics import Paired, Share, Shift, cohen_kappa
from storage.tables import SARCASTIC, SCORES, SENTIMENTS, decisions
from storage.trials.trials import Trial, is_sarcastic, label, label_in_sql, pairs, scores_of, trials


@dataclass(frozen=True, slots=True)
class Example:
    """A post that the two see differently.

    Attributes:
        distance: 0 to 1; the total variation of the two sentiments, or the difference of the two
            probabilities of sarcasm, whichever is larger.
        champion, challenger: negative, neutral, positive, sarcasm.
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
class Decided:
    """What moderators said of posts that both judged. They saw the champion's flags and scores.

    Attributes:
        sentiment, sarcasm: who was right where a moderator labelled the post.
        dropped: of decided flags that the challenger would not open, those that were approved;
            the others would be missed.
        kept: of decided flags that both open, those that were removed.
    """

    sentiment: Paired
    sarcasm: Paired
    dropped: Share
    kept: Share


@dataclass(frozen=True, slots=True)
class Brief:
    """The few figures of a trial that a page shows: see `Comparison`."""

    trial: Trial
    posts: int
    sentiment: Share
    sarcasm: Share
    removed: int
    added: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that is known of a trial.

    Attributes:
        posts: how many both judged.
        sentiment, sarcasm: how often they give the same label.
        sentiment_confusion, sarcasm_confusion: posts by label (`literal` before `sarcastic`), a row
            for each of the champion's and a column for each of the challenger's.
        shifts: by score, challenger minus champion.
    """

    trial: Trial
    posts: int
    sentiment: Share
    sarcasm: Share
    sentiment_kappa: float | None
    sarcasm_kappa: float | None
    sentiment_confusion: Sequence[Sequence[int]]
    sarcasm_confusion: Sequence[Sequence[int]]
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
        {name: both.c[prefix + name] for name in SCORES} for prefix in ("", "champion_")
    )
    flagged, was_flagged = both.c.rules != [], both.c.champion_rules != []

    def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    n, sentiment, sarcasm, removed, added = connection.execute(
        select(
            func.count(),
            number(label_in_sql(ours) == label_in_sql(theirs)),
            number((ours["sarcasm"] >= SARCASTIC) == (theirs["sarcasm"] >= SARCASTIC)),
            number(and_(was_flagged, ~flagged)),
            number(and_(flagged, ~was_flagged)),
        ).select_from(both)
    ).one()
    return Brief(
        found[0], n, Share.of(sentiment, n), Share.of(sarcasm, n), int(removed), int(added)
    )


@dataclass(slots=True)
class _Seen:
    """Sums over the posts of a trial."""

    wanted: int
    posts: int = 0
    sentiment: Counter[tuple[int, int]] = field(default_factory=Counter)
    sarcasm: Counter[tuple[int, int]] = field(default_factory=Counter)
    flags: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    sums: dict[str, list[float]] = field(
        default_factory=lambda: {name: [0.0, 0.0, 0.0] for name in SCORES}
    )
    differing: list[tuple[float, str, Example]] = field(default_factory=list)

    def add(self, row: Row[Any]) -> None:
        challenger, champion = scores_of(row), scores_of(row, "champion_")
        self.posts += 1
        labels = label(champion), label(challenger)
        sarcastic = is_sarcastic(champion), is_sarcastic(challenger)
        self.sentiment[labels] += 1
        self.sarcasm[sarcastic] += 1
        self.flags[bool(row.champion_rules), bool(row.rules)] += 1
        self.added.update(set(row.rules) - set(row.champion_rules))
        self.removed.update(set(row.champion_rules) - set(row.rules))
        for name, sums in self.sums.items():
            difference = challenger[name] - champion[name]
            for index, value in enumerate((difference, difference**2, abs(difference))):
                sums[index] += value
        if labels[0] != labels[1] or sarcastic[0] != sarcastic[1]:
            self._keep(row, champion, challenger)

    def _keep(
        self, row: Row[Any], champion: Mapping[str, float], challenger: Mapping[str, float]
    ) -> None:
        varied = 0.5 * sum(abs(champion[name] - challenger[name]) for name in SENTIMENTS)
        distance = max(varied, abs(champion["sarcasm"] - challenger["sarcasm"]))
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
            sentiment=Share.of(sum(self.sentiment[i, i] for i in range(3)), n),
            sarcasm=Share.of(sum(self.sarcasm[i, i] for i in range(2)), n),
            sentiment_kappa=cohen_kappa(list(self.sentiment.elements())),
            sarcasm_kappa=cohen_kappa(list(self.sarcasm.elements())),
            sentiment_confusion=[[self.sentiment[i, j] for j in range(3)] for i in range(3)],
            sarcasm_confusion=[[self.sarcasm[i, j] for j in range(2)] for i in range(2)],
            flags=Flags(
                Share.of(both + removed, n),
                Share.of(both + added, n),
                both,
                removed,
                added,
                dict(self.added.most_common()),
                dict(self.removed.most_common()),
            ),
            shifts={name: Shift.of(n, *sums) for name, sums in self.sums.items()},
            decided=decided,
            examples=[entry[2] for entry in sorted(self.differing, reverse=True)],
        )


def _decided(connection: Connection, trial: Trial, since: datetime | None) -> Decided:
    made, verdicts = decisions.c, tables.verdicts.c
    statement = (
        pairs(trial, since, verdicts.id, made.action, made.sentiment, made.sarcastic)
        .join(decisions, made.verdict_id == verdicts.id)
        .where(made.action != "undo", ~is_undone())
        .order_by(verdicts.id, made.id)
        .execution_options(yield_per=1000)
    )
    sentiment, sarcasm, dropped, kept = (Counter[Any]() for _ in range(4))
    for row, action, said, sarcastic in _last_said(connection.execute(statement)):
        champion, challenger = scores_of(row, "champion_"), scores_of(row)
        if said is not None:
            truth = SENTIMENTS.index(said)
            sentiment[label(champion) == truth, label(challenger) == truth] += 1
        if sarcastic is not None:
            sarcasm[is_sarcastic(champion) == sarcastic, is_sarcastic(challenger) == sarcastic] += 1
        if action is not None and row.champion_rules:
            (kept if row.rules else dropped)[action] += 1
    return Decided(
        Paired.of(sentiment),
        Paired.of(sarcasm),
        Share.of(dropped["approve"], dropped.total()),
        Share.of(kept["remove"], kept.total()),
    )


def _last_said(
    rows: Iterable[Row[Any]],
) -> Iterator[tuple[Row[Any], str | None, str | None, bool | None]]:
    """Of each verdict its last settled action and its last labels, where there are any."""
    for _, group in groupby(rows, key=lambda row: row.id):
        said = list(group)
        settled = (row.action if row.action in ("approve", "remove") else None for row in said)
        yield (
            said[-1],
            last_known(settled),
            last_known(row.sentiment for row in said),
            last_known(row.sarcastic for row in said),
        )
