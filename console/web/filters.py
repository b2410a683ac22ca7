"""What somebody looks for in the queue: as it was sent, and what of it can be read."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from console.web.words import rule_words
from deadpan.core.errors import ConfigurationError
from storage import tables
from storage.base.text import UNKNOWN_LANGUAGE
from storage.flags.worklist import Filter, FlagPosition

PAGE_SIZE: Final = 25
#: For whoever decides many at once; as many as a bulk decision takes.
LONG_PAGE: Final = 100
STATES: Final = ("open", "claimed", "escalated", "decided")
AGES: Final = {"1h": "1 hour", "8h": "8 hours", "1d": "1 day", "3d": "3 days"}
_AGES: Final = {
    "1h": timedelta(hours=1),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form above the list says, as it was sent."""

    state: str = "open"
    queue: str = ""
    rule: str = ""
    author: str = ""
    post: str = ""
    words: str = ""
    language: str = ""
    negative: str = ""
    sarcasm: str = ""
    age: str = ""
    size: str = ""

    def query(self, **changed: str) -> str:
        """As part of an address, without what is empty."""
        fields = {name: getattr(self, name) for name in self.__slots__} | changed
        return urlencode({k: v for k, v in fields.items() if v and (k, v) != ("state", "open")})

    @property
    def filters(self) -> str:
        """What more than state and queue is asked for, as one word that forms carry."""
        fields = {name: getattr(self, name) for name in _FILTERS}
        return urlencode({k: v for k, v in fields.items() if v})

    @property
    def is_filtered(self) -> bool:
        """Whether more than state and queue is asked for."""
        return any(getattr(self, n) for n in self.__slots__ if n not in ("state", "queue", "size"))

    @property
    def rows(self) -> int:
        """How many flags a page holds."""
        return LONG_PAGE if self.size == str(LONG_PAGE) else PAGE_SIZE

    @property
    def problems(self) -> Mapping[str, str]:
        """What cannot be read, each with its remedy, by the field that it stands beside."""
        found = {
            "state": _one_of(self.state, STATES),
            "language": _language_problem(self.language),
            "negative": _share_problem(self.negative),
            "sarcasm": _share_problem(self.sarcasm),
            "age": _one_of(self.age, ("", *AGES)),
            "size": _one_of(self.size, ("", str(LONG_PAGE))),
        }
        return {name: problem for name, problem in found.items() if problem}

    def filter(self) -> Filter:
        """As storage takes it.

        Raises:
            ConfigurationError: with everything that cannot be read.
        """
        if problems := self.problems:
            raise ConfigurationError("; ".join(f"{name}: {problems[name]}" for name in problems))
        return Filter(
            # Somebody who looks for a post wants it in whatever state it is.
            states=tables.FLAG_STATES if self.post else (self.state,),
            queue=self.queue or None,
            rule=self.rule or None,
            author=self.author or None,
            post_id=self.post or None,
            words=self.words or None,
            language=self.language or None,
            negative=_share(self.negative),
            sarcasm=_share(self.sarcasm),
            opened_before=datetime.now(UTC) - _AGES[self.age] if self.age else None,
        )

    def named_as(self, rules: Collection[str]) -> Asked:
        """The same, where a rule may be called as pages show it: "Very negative" is very-negative.

        Args:
            rules: those that flags have.
        """
        shown = {rule_words(rule).casefold(): rule for rule in rules}
        known = self.rule in rules or not self.rule
        return self if known else replace(self, rule=shown.get(self.rule.casefold(), self.rule))


_FILTERS: Final = tuple(name for name in Asked.__slots__ if name not in ("state", "queue"))


def asked_of(queue: str, filters: str) -> Asked:
    """The list that somebody works through.

    Args:
        filters: as `Asked.filters` gives them.

    Raises:
        ConfigurationError: they are none.
    """
    try:
        given = parse_qsl(filters, strict_parsing=bool(filters), max_num_fields=len(_FILTERS))
    except ValueError:
        raise ConfigurationError(f"filters {filters[:80]!r} are none; choose them anew") from None
    asked = Asked(queue=queue, **{k: clean(v) for k, v in given if k in _FILTERS})
    asked.filter()
    return asked


def clean(value: str) -> str:
    """Text from an address, without what no database takes."""
    return value.strip().replace("\x00", "").encode("utf-8", "replace").decode()[:256]


def cursor_of(position: FlagPosition) -> str:
    """A position as an opaque word."""
    plain = json.dumps([position.priority, position.opened_at.isoformat(), position.id])
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def position_of(cursor: str) -> FlagPosition | None:
    """The position that a cursor stands for.

    Raises:
        ConfigurationError: it is none.
    """
    if not cursor:
        return None
    try:
        plain = base64.b64decode(
            cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        priority, opened_at, number = json.loads(plain)
        moment = datetime.fromisoformat(opened_at)
        if moment.utcoffset() is None or type(priority) is not int or type(number) is not int:
            raise ValueError("not a position")
        if not (abs(priority) < 2**31 and 0 <= number < 2**63):
            raise ValueError("not a position")
        return FlagPosition(priority, moment.astimezone(UTC), number)
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise ConfigurationError(
            f"cursor {cursor[:80]!r} is none; start again without one"
        ) from None


def language_word(given: Any) -> Any:
    """Gives a language as programs ask for it.

    Raises:
        ValueError: it is none.
    """
    problem = _language_problem(given) if isinstance(given, str) else ""
    if problem or given == "":
        raise ValueError(problem or _LANGUAGES)
    return given


_LANGUAGES: Final = (
    "give two or three letters such as de, "
    f"or {UNKNOWN_LANGUAGE} for posts of which it is not known"
)


def _language_problem(given: str) -> str:
    if given and not re.fullmatch("[A-Za-z]{2,3}", given):
        return f"{given[:20]!r} is no language; {_LANGUAGES}"
    return ""


def _one_of(given: str, known: Collection[str]) -> str:
    if given in known:
        return ""
    return f"there is no {given[:20]!r}; choose {' or '.join(each for each in known if each)}"


def _share(given: str) -> float | None:
    """A number from 0 to 1, with a point or, as much of the world writes it, a comma; -1 for what
    is none."""
    if not given.strip():
        return None
    try:
        return float(given.replace(",", ".", 1))
    except ValueError:
        return -1.0


def _share_problem(given: str) -> str:
    value = _share(given)
    if value is None or 0 <= value <= 1:
        return ""
    return f"{given[:20]!r} is no number from 0 to 1; write it as 0.8"
