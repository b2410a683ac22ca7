"""Learning an order from decisions, and trying it on decisions that it has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

import numpy as np

from storage.flags.placing import Known, Place
from tasks.order.features import WORD_PLACES, Columns, log_odds
from tasks.order.logistic import Floats, fit, log_losses, sigmoid

#: So many decisions there have to be, and so many of each kind among them.
MIN_DECISIONS: Final = 200
MIN_OF_EACH: Final = 20
#: It learns from so many at most, the newest.
MAX_DECISIONS: Final = 10_000
#: The newest part of them is what it is tried on.
HELD_OUT: Final = 0.25
#: Of an order by the highest score alone, which two numbers make: so few need few decisions.
HELD_OUT_OF_SCORES: Final = 0.75
#: "The first part of the work" that a trial looks at.
FIRST: Final = 0.1
_PENALTIES: Final = (3.0, 10.0, 30.0)
_PENALTY_OF_PLAIN: Final = 1.0
_STEPS_OF_RANK: Final = 101


@dataclass(frozen=True, slots=True)
class Ranker:
    """What an order learnt.

    Attributes:
        means, scales: of the numbers that are no words, over what was learnt from.
        weights: of all numbers, the plain ones first.
        chances: so many quantiles of the chances of what was learnt from, lowest first.
        highest: weight of the log odds of the highest score; 0 where all numbers have weights of
            their own.
    """

    columns: Columns
    means: Floats
    scales: Floats
    weights: Floats
    intercept: float
    chances: Floats
    highest: float = 0.0

    @classmethod
    def of_scores(cls, flags: Sequence[Known]) -> Self:
        """Learns from decided flags, of both kinds, what the highest score says, and nothing else:
        how the flags are ordered by it is known beforehand."""
        columns, x = Columns((), (), authors=False), _highest_odds(flags)
        (highest,), intercept = fit(x[:, None], _removed(flags), np.array([_PENALTY_OF_PLAIN]))
        chances = np.quantile(sigmoid(x * highest + intercept), np.linspace(0, 1, _STEPS_OF_RANK))
        plain = len(columns.groups)
        weights = np.zeros(plain + WORD_PLACES)
        return cls(
            columns, np.zeros(plain), np.ones(plain), weights, intercept, chances, float(highest)
        )

    @classmethod
    def learnt(cls, flags: Sequence[Known], *, authors: bool, penalty: float) -> Self:
        """Learns from decided flags, of both kinds.

        Args:
            authors: whether an author's record counts.
            penalty: of the words' weights.
        """
        columns = Columns.of(flags, authors=authors)
        x, y = columns.rows(flags), _removed(flags)
        plain = x.shape[1] - WORD_PLACES
        means = x[:, :plain].mean(axis=0)
        scales = np.maximum(x[:, :plain].std(axis=0), 1e-3)
        x[:, :plain] = (x[:, :plain] - means) / scales
        penalties = np.full(x.shape[1], penalty)
        penalties[:plain] = _PENALTY_OF_PLAIN
        weights, intercept = fit(x, y, penalties)
        chances = np.quantile(sigmoid(x @ weights + intercept), np.linspace(0, 1, _STEPS_OF_RANK))
        return cls(columns, means, scales, weights, intercept, chances)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """As it was stored."""
        arrays = {name: np.array(row[name], np.float64) for name in _ARRAYS}
        return cls(
            Columns.from_row(row["columns"]),
            intercept=float(row["intercept"]),
            highest=float(row.get("highest", 0.0)),
            **arrays,
        )

    def as_row(self) -> dict[str, Any]:
        """As it is stored."""
        arrays = {name: [float(f"{v:.5g}") for v in getattr(self, name)] for name in _ARRAYS}
        numbers = {"intercept": self.intercept, "highest": self.highest}
        return {"columns": self.columns.as_row(), **numbers, **arrays}

    def chances_of(self, flags: Sequence[Known]) -> Floats:
        """How likely each is to be removed, 0 to 1."""
        of_highest = self.highest * _highest_odds(flags)
        return np.asarray(
            sigmoid(self._numbers(flags) @ self.weights + of_highest + self.intercept)
        )

    def shares(self, chances: Floats) -> Floats:
        """How far up each stands among the flags that it learnt from, 0 to 1."""
        # In the middle of what has the same chance, so that a chance that all have is no merit.
        below, up_to = (np.searchsorted(self.chances, chances, side=s) for s in ("left", "right"))
        return np.asarray(np.clip((below + up_to - 1) / 2 / (_STEPS_OF_RANK - 1), 0, 1))

    def reasons(self, flags: Sequence[Known]) -> list[list[str]]:
        """What raised the chance of each over that of most, the strongest first, at most two."""
        if self.highest:
            likely = self.shares(self.chances_of(flags)) > 1 / 2
            return [["scores"] if each else [] for each in likely]
        moved = self._numbers(flags) * self.weights
        plain = len(self.columns.groups)
        names = [*dict.fromkeys([*self.columns.groups, "words"])]
        members = np.array([names.index(g) for g in self.columns.groups] + [names.index("words")])
        sums = np.zeros((len(flags), len(names)))
        together = np.concatenate([moved[:, :plain], moved[:, plain:].sum(axis=1)[:, None]], axis=1)
        np.add.at(sums.T, members, together.T)
        return [
            [names[n] for n in np.argsort(-row, kind="stable")[:2] if row[n] > _NOTABLE]
            for row in sums
        ]

    def _numbers(self, flags: Sequence[Known]) -> Floats:
        x = self.columns.rows(flags).astype(np.float64)
        plain = x.shape[1] - WORD_PLACES
        x[:, :plain] = (x[:, :plain] - self.means) / self.scales
        return x


_ARRAYS: Final = ("means", "scales", "weights", "chances")
#: Log odds: an eighth more or less is nothing that anybody would call a reason.
_NOTABLE: Final = 0.12


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a training.

    Attributes:
        ranker: None where it is not good enough to be used.
        why: in a sentence.
        evaluation: `{"decisions": held out, "removed", "log_loss", "base_log_loss",
            "expected_removed", "first": share of the work, "reached": {"learned", "age", "score":
            share of the removals, each with "value", "low", "high"}}`, "used_log_loss" where an
            order was in use, and "of_scores" where the highest score was tried.
    """

    ranker: Ranker | None
    why: str
    evaluation: dict[str, Any]
    decisions: int
    decided_until: datetime

    @property
    def used_is_no_good(self) -> bool:
        """Whether the order in use no longer tells removals better than their share alone does."""
        of_used = self.evaluation.get("used_log_loss")
        return of_used is not None and of_used >= self.evaluation["base_log_loss"]


def train(flags: Sequence[Known], *, authors: bool, used: Ranker | None = None) -> Trained:
    """Learns from the older of decided flags, tries it on the newest, and if it is good enough
    learns from all. If it is not, and no order is in use that is, the same is tried with the
    highest score alone, which needs fewer decisions.

    It is good enough if on the newest it tells removals clearly better than the share of removals
    alone (by the logarithmic loss), reaches at least as many of them in the first tenth of the work
    as the order by age, which else would be used, and is not clearly worse than the order in use.

    Args:
        flags: oldest decision first; at least `MIN_DECISIONS`.
        authors: whether an author's record counts.
        used: the order in use, to be compared with.
    """
    flags = with_records(flags) if authors else list(flags)
    cut = round(len(flags) * (1 - HELD_OUT))
    older, newest = flags[:cut], flags[cut:]
    until = max(flag.closed_at for flag in flags if flag.closed_at is not None)

    def result(ranker: Ranker | None, why: str) -> Trained:
        return Trained(ranker, why, evaluation, len(flags), until)

    evaluation: dict[str, Any] = {}
    for part, words in ((older, "older"), (newest, "newest")):
        of_each = _fewer_kind(part)
        if of_each < MIN_OF_EACH // 2:
            why = f"too few of one kind among the {words} decisions: {of_each} of {len(part)}"
            return result(None, why)
    penalty = _best_penalty(older, authors)
    candidate = Ranker.learnt(older, authors=authors, penalty=penalty)
    chances, removed = candidate.chances_of(newest), _removed(newest)
    losses = log_losses(chances, removed)
    base = np.full(len(newest), float(_removed(older).mean()))
    base_losses = log_losses(base, removed)
    reached = {
        "learned": _reached(chances, removed),
        "age": _reached(-_ages(newest), removed),
        "score": _reached(highest_scores(newest), removed),
    }
    evaluation |= {
        "decisions": len(newest),
        "removed": int(removed.sum()),
        "expected_removed": round(float(chances.sum()), 1),
        "log_loss": round(float(losses.mean()), 4),
        "base_log_loss": round(float(base_losses.mean()), 4),
        "first": FIRST,
        "reached": reached,
        "penalty": penalty,
    }
    if used is not None:
        of_used = log_losses(used.chances_of(newest), removed)
        evaluation["used_log_loss"] = round(float(of_used.mean()), 4)
    if not _clearly_less(losses, base_losses):
        refused = "it does not clearly tell removals better than their share alone does"
    elif reached["learned"]["value"] < reached["age"]["value"]:
        refused = "the order by age reaches more removals in the first tenth of the work"
    elif used is not None and _clearly_less(of_used, losses):
        return result(None, "the order in use tells removals better")
    else:
        why = (
            f"of the newest {len(newest)} decisions, which it had not seen, it reaches "
            f"{reached['learned']['value']:.0%} of the removals in the first tenth of the work; by "
            f"age that is {reached['age']['value']:.0%}, by score {reached['score']['value']:.0%}"
        )
        return result(Ranker.learnt(flags, authors=authors, penalty=penalty), why)
    if used is not None and evaluation["used_log_loss"] < evaluation["base_log_loss"]:
        return result(None, refused)
    evaluation["of_scores"] = tried = _tried_by_scores(flags)
    if not tried["is_good"]:
        return result(None, f"{refused}; nor does the highest score")
    return result(
        Ranker.of_scores(flags),
        f"{refused}; of the newest {tried['decisions']} decisions the highest score reaches "
        f"{tried['score']['value']:.0%} of the removals in the first tenth of the work, by age "
        f"that is {tried['age']['value']:.0%}",
    )


def _tried_by_scores(flags: Sequence[Known]) -> dict[str, Any]:
    """Whether the highest score orders removals, tried on the newest of the decisions."""
    cut = round(len(flags) * (1 - HELD_OUT_OF_SCORES))
    older, newest = flags[:cut], flags[cut:]
    candidate, removed = Ranker.of_scores(older), _removed(newest)
    losses = log_losses(candidate.chances_of(newest), removed)
    base_losses = log_losses(np.full(len(newest), float(_removed(older).mean())), removed)
    by_score = _reached(highest_scores(newest), removed)
    by_age = _reached(-_ages(newest), removed)
    return {
        "decisions": len(newest),
        "log_loss": round(float(losses.mean()), 4),
        "base_log_loss": round(float(base_losses.mean()), 4),
        "score": by_score,
        "age": by_age,
        "is_good": _fewer_kind(older) >= MIN_OF_EACH // 4
        and candidate.highest > 0
        and _clearly_less(losses, base_losses)
        and by_score["value"] >= by_age["value"],
    }


def places(
    flags: Sequence[Known], ranker: Ranker, *, order_id: int, bound: timedelta, random_share: float
) -> list[Place]:
    """Where flags belong: ahead of their age by a part of the bound, the larger the likelier they
    are removed. Of some, which their id says, the part is by chance: how the order does is measured
    with them. Where a time is promised, the bound is half of it at most: others of the queue, which
    are promised the same, then do not make a flag late that would be in time.
    """
    if not flags:
        return []
    chances = ranker.chances_of(flags)
    found = []
    for flag, chance, share, reasons in zip(
        flags, chances, ranker.shares(chances), ranker.reasons(flags), strict=True
    ):
        drawn, by_chance = _drawn(flag.id)
        # Where looks stand in the queue must neither tell them apart nor change what they measure.
        random = flag.blind or drawn < random_share
        part = by_chance if random else float(share)
        ahead = part * bound
        if flag.due_at is not None:
            ahead = part * min(bound, max((flag.due_at - flag.opened_at) / 2, timedelta()))
        placement = {
            "order": order_id,
            "how": "random" if random else "learned",
            "chance": round(float(chance), 4),
            "ahead_hours": round(ahead.total_seconds() / 3600, 2),
            "because": reasons,
        }
        found.append(Place(flag.id, flag.opened_at - ahead, placement))
    return found


def with_records(flags: Iterable[Known]) -> list[Known]:
    """Flags with what was decided of their authors' other flags before each was opened."""
    made = sorted(
        (flag for flag in flags if flag.closed_at is not None), key=lambda each: each.opened_at
    )
    closed = sorted(made, key=lambda each: (each.closed_at, each.id))
    so_far: dict[str, list[int]] = {}
    found: dict[int, Known] = {}
    next_closed = 0
    for flag in made:
        while next_closed < len(closed) and closed[next_closed].closed_at <= flag.opened_at:  # type: ignore[operator]
            done = closed[next_closed]
            if done.author is not None:
                record = so_far.setdefault(done.author, [0, 0])
                record[0] += bool(done.removed)
                record[1] += 1
            next_closed += 1
        removed, decided = so_far.get(flag.author or "", (0, 0))
        found[flag.id] = replace(flag, author_removed=removed, author_decided=decided)
    return [found[flag.id] for flag in closed]


def highest_scores(flags: Sequence[Known]) -> Floats:
    """The score order: by what is worst in a post, whatever rule fired."""
    told = ("negative", "sarcasm", "offensive", "hateful")
    return np.array([max(flag.scores.get(name, 0.0) for name in told) for flag in flags])


def _highest_odds(flags: Sequence[Known]) -> Floats:
    return np.array([log_odds(score) for score in highest_scores(flags)])


def _drawn(flag_id: int) -> tuple[float, float]:
    """Two numbers of 0 to 1 that a flag's id says, the same in every process."""
    digest = hashlib.sha256(b"order of flags %d" % flag_id).digest()
    first, second = (int.from_bytes(part, "big") for part in (digest[:8], digest[8:16]))
    return first / 2**64, second / 2**64


def _clearly_less(losses: Floats, others: Floats) -> bool:
    """Whether losses are less on average, by more than twice the standard error of the difference:
    by chance alone, about one order in forty is.
    """
    less = others - losses
    return bool(less.mean() > 2 * less.std(ddof=1) / np.sqrt(len(less)))


def _removed(flags: Sequence[Known]) -> Floats:
    return np.array([bool(flag.removed) for flag in flags], np.float64)


def _fewer_kind(flags: Sequence[Known]) -> int:
    """How many were removed, or were not, whichever are fewer."""
    removed = int(_removed(flags).sum())
    return min(removed, len(flags) - removed)


def _ages(flags: Sequence[Known]) -> Floats:
    return np.array([flag.opened_at.timestamp() for flag in flags])


def _best_penalty(flags: Sequence[Known], authors: bool) -> float:
    cut = round(len(flags) * (1 - HELD_OUT))
    older, newest = flags[:cut], flags[cut:]
    if not 0 < _removed(older).mean() < 1:
        return _PENALTIES[-1]

    def loss(penalty: float) -> float:
        tried = Ranker.learnt(older, authors=authors, penalty=penalty)
        return float(log_losses(tried.chances_of(newest), _removed(newest)).mean())

    return min(_PENALTIES, key=loss)


def _reached(merit: Floats, removed: Floats) -> dict[str, float]:
    """Share of the removals in the first part of the work, with a 95 % interval (bootstrap)."""
    chance = np.random.default_rng(0)

    def share(rows: Any) -> float:
        order = np.argsort(-merit[rows], kind="stable")
        first = order[: max(1, round(len(order) * FIRST))]
        total = removed[rows].sum()
        return float(removed[rows][first].sum() / total) if total else 0.0

    everything = np.arange(len(removed))
    again = [share(chance.integers(0, len(removed), len(removed))) for _ in range(200)]
    low, high = np.quantile(again, (0.025, 0.975))
    return {
        "value": round(share(everything), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
