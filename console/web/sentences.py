"""What Insight answers, in words: whether the team keeps up, is right, the model is right, and how
people are. Each says so where too little is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from console.web.words import duration
from storage.reports.answers import Answers
from storage.reports.drift import Drift
from storage.reports.forecast import Outlook
from storage.reports.insight import Appeals, Decided, Load
from storage.reports.promises import Forecast
from storage.reports.recall import Measured
from storage.reports.statistics import Share
from storage.reviews.fairness import Agreement

#: What people said of a post, and what each measure of drift is, as sentences name them.
QUESTIONS = {"sentiment": "sentiment", "sarcasm": "sarcasm", "offensive": "offensive words"}
MEASURES = {
    "flagged": "the share of posts that are flagged",
    "negative": "the mean score for negative",
    "sarcasm": "the mean score for sarcasm",
    "offensive": "the mean score for offensive",
    "hateful": "the mean score for hateful",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The short one, and what it rests on."""

    short: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.short} {self.rest}".rstrip()


def share_words(share: Any) -> str:
    """A share or an estimate with its 95 % interval: "75% (30–95)"; a dash where it is unknown."""
    if share is None or share.value is None:
        return "–"
    return f"{share.value * 100:.0f}% ({share.low * 100:.0f}–{share.high * 100:.0f})"


def keeping_up(
    waiting: int,
    oldest: datetime | None,
    forecasts: Sequence[Forecast],
    outlook: Outlook | None,
    now: datetime,
) -> Answer:
    """Whether what waits gets less in the next day, whichever of the past ones it is like."""
    late = sum(each.overdue for each in forecasts)
    there = f"{_number(waiting, 'flag')} wait{'s' if waiting == 1 else ''}"
    if oldest is not None:
        there += f", the oldest for {duration((now - oldest).total_seconds())}"
    if late:
        there += f"; {late:,} {'is' if late == 1 else 'are'} overdue"
    there = there if waiting else "Nothing waits"
    if outlook is None:
        return Answer(f"{there}.", "For a forecast, Deadpan has to have seen a day of flags.")
    last = outlook.last
    if last.low > waiting:
        short = "You are falling behind."
    elif last.high < waiting or not waiting or outlook.empty_at is not None:
        short = "You are catching up." if late else "You are keeping up."
    else:
        short = "What waits stays about the same."
    if waiting and outlook.empty_at is not None:
        then = f"nothing waits at {_clock(outlook.empty_at, now)}"
    else:
        span = f" ({last.low:,.0f} to {last.high:,.0f})" if last.low != last.high else ""
        then = f"{last.expected:,.0f}{span} wait at {_clock(last.at, now)}"
    past = _past(outlook.weeks, "week") if outlook.weeks else _past(outlook.days, "day")
    return Answer(short, f"{there}. If the next day is like the same hours of {past}, {then}.")


def people_right(
    decided: Decided, appeals: Appeals, agreement: Agreement, recall: Measured | None, *, lead: bool
) -> Answer:
    """What is removed of the flags; for leads also what is missed, and how far people agree."""
    if not decided.removed.n:
        return Answer("Nothing is known yet.", "No flag was decided in this time.")
    removed = _of(decided.removed.count, decided.removed.n)
    short = f"{removed} decided flags were removed."
    if not lead:
        return Answer(short)
    known = recall.rates.everything.recall if recall is not None else None
    if known is None:
        rest = "What was missed is unknown: no unflagged posts were looked at."
    else:
        rest = f"Of all posts to remove, about {share_words(known)} were flagged."
    if appeals.overturned.n:
        overturned = _of(appeals.overturned.count, appeals.overturned.n)
        rest += f" Appeals overturned {overturned} decisions."
    else:
        rest += " No appeal was decided."
    if agreement.looks:
        rest += f" In {_of(agreement.same, agreement.looks)} blind second looks people agreed."
    else:
        rest += " No decision had a blind second look, so how far people agree is unknown."
    return Answer(short, rest)


def model_right(answers: Answers, drifts: Sequence[Drift]) -> Answer:
    """What people answered about the model, and whether anything moved."""
    shifted = [each for each in drifts if each.shifted]
    if shifted:
        moved = " and ".join(
            f"{MEASURES[each.measure]} went from {_level(each.before)} to {_level(each.recent)}"
            for each in shifted
        )
        moved = f"Something shifted: this week {moved}."
    elif any(each.p_value is not None for each in drifts):
        moved = "Nothing shifted this week, compared with the four weeks before."
    else:
        moved = "Whether anything shifted is unknown: there are too few posts a day, or days."
    shares = answers.everything.shares
    if not shares:
        return Answer("Nobody answered “Was the model right?” in this time.", moved)
    right = ", ".join(f"{QUESTIONS[name]} {share_words(each)}" for name, each in shares.items())
    count = f"{answers.decisions.count:,} of {answers.decisions.n:,} decisions"
    return Answer(f"When asked, people said it was right: {right}.", f"That is of {count}. {moved}")


def people_well(loads: Sequence[Load], *, lead: bool) -> Answer:
    """How fast and how much; of everybody, or of oneself."""
    working = [each for each in loads if each.decided]
    if not working:
        who, what = ("Nobody", "anything") if lead else ("You", "nothing")
        return Answer(f"{who} decided {what} in this time.")
    decided = sum(each.decided for each in working)
    pace = decided / sum(each.hours for each in working)
    who = "You" if not lead else "1 person" if len(working) == 1 else f"{len(working)} people"
    short = f"{who} made {_number(decided, 'decision')}, {pace:.1f} an hour at work."
    hardest = max(each.hardest_hour for each in working)
    somebody = "somebody" if lead else "you"
    rest = f"In the hardest hour {somebody} decided {_number(hardest, 'negative post')}."
    quick = sum(each.quick for each in working)
    seconds = f"{_number(quick, 'decision')} took" if quick else "None took"
    return Answer(short, f"{rest} {seconds} less than a second.")


def _of(count: int, n: int) -> str:
    return f"{share_words(Share.of(count, n))} of {n:,}"


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _past(number: int, what: str) -> str:
    return f"the last {what}" if number == 1 else f"the last {number} {what}s"


def _level(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f}%"


def _clock(moment: datetime, now: datetime) -> str:
    day = "" if moment.date() == now.date() else " tomorrow"
    return f"{moment:%H:%M} UTC{day}"
