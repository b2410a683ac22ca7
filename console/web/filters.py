"""What somebody looks for in the queue: as it was sent, and what of it is valid."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, urlencode

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from console.web.fields import Text, clean, language_code, what_is_wrong
from console.web.words import rule_words
from deadpan.core.errors import ConfigurationError
from storage import tables
from storage.flags.worklist import Filter, FlagPosition

PAGE_SIZE: Final = 25
#: For whoever decides many at once; as many as a bulk decision takes.
LONG_PAGE: Final = 100
AGES: Final = {"1h": "1 hour", "8h": "8 hours", "1d": "1 day", "3d": "3 days"}
DUES: Final = {
    "late": "overdue",
    "1h": "within 1 hour",
    "8h": "within 8 hours",
    "1d": "within 1 day",
}
_HOURS: Final = {"late": 0, "1h": 1, "8h": 8, "1d": 24, "3d": 72}


class Asked(BaseModel):
    """What the form above the list says, as it was sent."""

    model_config = ConfigDict(frozen=True)

    state: Annotated[str, BeforeValidator(lambda given: clean(given) or "open")] = "open"
    queue: Text = ""
    rule: Text = ""
    author: Text = ""
    post: Text = ""
    words: Text = ""
    language: Text = ""
    negative: Text = ""
    sarcasm: Text = ""
    offensive: Text = ""
    hateful: Text = ""
    age: Text = ""
    due: Text = ""
    size: Text = ""

    def query(self, **changed: str) -> str:
        """As part of an address, without what is empty."""
        fields = self.model_dump() | changed
        return urlencode({k: v for k, v in fields.items() if v and (k, v) != ("state", "open")})

    @property
    def filters(self) -> str:
        """What is asked for besides state and queue, as one word that forms carry."""
        fields = self.model_dump(exclude={"state", "queue"})
        return urlencode({k: v for k, v in fields.items() if v})

    @property
    def is_filtered(self) -> bool:
        """Whether more than state and queue is asked for."""
        return any(self.model_dump(exclude={"state", "queue", "size"}).values())

    @property
    def rows(self) -> int:
        """How many flags a page holds."""
        return LONG_PAGE if self.size == str(LONG_PAGE) else PAGE_SIZE

    @property
    def problems(self) -> Mapping[str, str]:
        """What is invalid, each with its remedy, by the field that it is shown next to."""
        try:
            self._valid()
        except ValidationError as error:
            return {
                str(each["loc"][0]): f"{each['input'][:20]!r} is invalid: {what_is_wrong(each)}"
                for each in error.errors()
            }
        return {}

    def filter(self, *, blind: bool = True) -> Filter:
        """As storage takes it.

        Args:
            blind: whether a rule or a score finds flags that are shown without why, too.

        Raises:
            ConfigurationError: with everything that is invalid.
        """
        if problems := self.problems:
            raise ConfigurationError("; ".join(f"{name} {problems[name]}" for name in problems))
        valid = self._valid()
        return Filter(
            # Somebody who looks for a post wants it in whatever state it is.
            states=tables.FLAG_STATES if self.post else (valid.state,),
            queue=self.queue or None,
            rule=self.rule or None,
            author=self.author or None,
            post_id=self.post or None,
            words=self.words or None,
            language=valid.language,
            negative=valid.negative,
            sarcasm=valid.sarcasm,
            offensive=valid.offensive,
            hateful=valid.hateful,
            blind=blind,
            opened_before=datetime.now(UTC) - timedelta(hours=_HOURS[valid.age])
            if valid.age
            else None,
            due_before=datetime.now(UTC) + timedelta(hours=_HOURS[valid.due])
            if valid.due
            else None,
        )

    def named_as(self, rules: Collection[str]) -> Asked:
        """The same, where a rule may be called as pages show it: "Very negative" is very-negative.

        Args:
            rules: those that flags have.
        """
        if self.rule in rules:
            return self
        shown = {rule_words(rule).casefold(): rule for rule in rules}
        return self.model_copy(update={"rule": shown.get(self.rule.casefold(), self.rule)})

    def _valid(self) -> _Valid:
        return _Valid.model_validate({k: v for k, v in self.model_dump().items() if v})


def _share(given: str) -> float:
    """A number with a point or, as much of the world writes it, a comma."""
    try:
        share = float(given.replace(",", ".", 1))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError("must be between 0 and 1, such as 0.8")
    return share


Share = Annotated[float | None, BeforeValidator(_share)]


class _Valid(BaseModel):
    """The fields that not every text is valid in."""

    state: Literal["open", "claimed", "escalated", "decided"]
    language: Annotated[str, AfterValidator(language_code)] | None = None
    negative: Share = None
    sarcasm: Share = None
    offensive: Share = None
    hateful: Share = None
    age: Literal["1h", "8h", "1d", "3d"] | None = None
    due: Literal["late", "1h", "8h", "1d"] | None = None
    size: Literal["100"] | None = None


def asked_of(queue: str, filters: str) -> Asked:
    """The list that somebody works through.

    Args:
        filters: as `Asked.filters` gives them.

    Raises:
        ConfigurationError: they are invalid.
    """
    names = Asked.model_fields.keys() - {"state", "queue"}
    try:
        given = parse_qsl(filters, strict_parsing=bool(filters), max_num_fields=len(names))
    except ValueError:
        raise ConfigurationError(
            f"invalid filters {filters[:80]!r}; choose them again in the queue"
        ) from None
    asked = Asked(queue=queue, **{k: v for k, v in given if k in names})
    asked.filter()
    return asked


_POSITION: Final = TypeAdapter(
    tuple[
        Annotated[int, Field(strict=True, gt=-(2**31), lt=2**31)],
        AwareDatetime,
        Annotated[int, Field(strict=True, ge=0, lt=2**63)],
    ]
)


def cursor_of(position: FlagPosition) -> str:
    """A position as an opaque word."""
    plain = _POSITION.dump_json((position.priority, position.place, position.id))
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def position_of(cursor: str) -> FlagPosition | None:
    """The position that a cursor stands for; None for an empty one.

    Raises:
        ConfigurationError: it is invalid.
    """
    if not cursor:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        plain = base64.b64decode(padded, altchars=b"-_", validate=True)
        priority, place, number = _POSITION.validate_json(plain)
        return FlagPosition(priority, place.astimezone(UTC), number)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"invalid cursor {cursor[:80]!r}; start again without one"
        ) from None
