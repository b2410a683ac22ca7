"""The queue: what waits, filtered; and the next flag."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import JSONResponse, Response

from console.access import GuardedRoute
from console.render import page, see_other
from console.state import console_of, visitor_of
from deadpan.errors import ConfigurationError, NotFound
from storage import claims, decisions, review_work, reviews, tables, worklist
from storage.database import transaction
from storage.queries import FlagPosition
from storage.text import UNKNOWN_LANGUAGE
from storage.worklist import Filter

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
PAGE_SIZE = 25
#: For whoever decides many at once; as many as a bulk decision takes.
_LONG_PAGE = 100
_EXCERPT = 240
Filters = Annotated[str, Form(max_length=4000)]
_STATES = ("open", "claimed", "escalated", "decided")
AGES = {"1h": "1 hour", "8h": "8 hours", "1d": "1 day", "3d": "3 days"}
_AGES = {
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
        """How many flags a page holds.

        Raises:
            ConfigurationError: there is no such page.
        """
        if self.size not in ("", str(_LONG_PAGE)):
            raise ConfigurationError(
                f"a page of {self.size[:20]!r} flags is none; leave it out, or say {_LONG_PAGE}"
            )
        return _LONG_PAGE if self.size else PAGE_SIZE

    def filter(self) -> Filter:
        """As storage takes it.

        Raises:
            ConfigurationError: a value that is none.
        """
        if self.state not in _STATES or (self.age and self.age not in _AGES):
            raise ConfigurationError(f"there is no list {(self.state + ' ' + self.age)[:80]!r}")
        return Filter(
            # Somebody who looks for a post wants it in whatever state it is.
            states=tables.FLAG_STATES if self.post else (self.state,),
            queue=self.queue or None,
            rule=self.rule or None,
            author=self.author or None,
            post_id=self.post or None,
            words=self.words or None,
            language=_language(self.language),
            negative=_share("negative", self.negative),
            sarcasm=_share("sarcasm", self.sarcasm),
            opened_before=datetime.now(UTC) - _AGES[self.age] if self.age else None,
        )


_FILTERS = tuple(name for name in Asked.__slots__ if name not in ("state", "queue"))


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


@router.get("/")
def queue_page(
    request: Request,
    state: str = "open",
    queue: str = "",
    rule: str = "",
    author: str = "",
    post: str = "",
    words: str = "",
    language: str = "",
    negative: str = "",
    sarcasm: str = "",
    age: str = "",
    size: str = "",
    cursor: str = "",
    after: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    batch: str = "",
    empty: str = "",
) -> Response:
    """What waits."""
    console, me = console_of(request), visitor_of(request).moderator
    asked = Asked(
        state=state,
        queue=queue,
        rule=clean(rule),
        author=clean(author),
        post=clean(post),
        words=clean(words),
        language=language.strip(),
        negative=negative,
        sarcasm=sarcasm,
        age=age,
        size=size,
    )
    now = datetime.now(UTC)
    with transaction(console.database, read_only=True) as connection:
        position = position_of(cursor)
        found = worklist.search(connection, asked.filter(), limit=asked.rows + 1, after=position)
        flags = found.flags
        not_now = reviews.hidden_from(connection, me, [each.id for each in flags])
        mine = worklist.many(connection, claims.held_by(connection, me, now=now))
        banner = done_banner(connection, me, after, batch, now)
    more = len(flags) > asked.rows
    flags = flags[: asked.rows]
    last = flags[-1].position if more else None
    flags = [each for each in flags if each.id not in not_now]
    rows = [
        {"flag": flag, "text": excerpt(console.text(flag.verdict.evidence, "original_text"))}
        for flag in flags
    ]
    end = last or found.stopped_at
    onwards = cursor_of(end) if end else ""
    return page(
        request,
        "queue.html",
        rows=rows,
        asked=asked,
        ages=AGES,
        mine=mine,
        banner=banner,
        empty=empty,
        cursor=cursor,
        stopped=found.stopped_at is not None,
        searched=worklist.SEARCHED_AT_ONCE,
        onwards=asked.query(cursor=onwards) if onwards else "",
        reasons=console.reasons,
        judging=not rows and console.judging(),
        now=now,
    )


@router.get("/counts")
def counts(request: Request, judging: bool = False) -> JSONResponse:
    """What waits, for a page that is open for long; and whether posts are being judged, for one
    that is empty."""
    console = console_of(request)
    waiting = console.waiting()
    said = {"queues": waiting, "open": sum(q["open"] for q in waiting.values())}
    return JSONResponse(said | ({"judging": console.judging()} if judging else {}))


@router.post("/next")
def next_flag(
    request: Request,
    queue: Annotated[str, Form(max_length=64)] = "",
    filters: Filters = "",
) -> Response:
    """Take the best flag of the list that is open, and go to it."""
    return see_other(take_next(request, asked_of(queue, filters)))


def take_next(request: Request, within: Asked, **shown: Any) -> str:
    """Takes the best flag for whoever is signed in, and gives the address to go to.

    Second looks are chosen by queue and language alone: by scores or words, a filter would tell of
    them what is hidden.
    """
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        asked: dict[str, Any] = {
            "claim_seconds": console.claim_seconds,
            "queue": within.queue or None,
        }
        like = within.filter()
        # Second looks are few, so they come first; what is held comes before all.
        look = flag_id = None
        if not claims.held_by(connection, me, now=datetime.now(UTC)):
            look = review_work.claim_next(
                connection, me, known_share=console.known_share, language=like.language, **asked
            )
        if look is None:
            flag_id = claims.claim_next(
                connection, me, like=like if within.is_filtered else None, **asked
            )
    fields = {"queue": within.queue, "filters": within.filters, **shown}
    if look is not None:
        path = f"/reviews/{look}"
    elif flag_id is not None:
        path = f"/flags/{flag_id}"
    else:
        return f"/?{within.query(**{k: str(v) for k, v in shown.items()}, empty='1')}"
    query = urlencode({k: v for k, v in fields.items() if v})
    return f"{path}?{query}" if query else path


def done_banner(
    connection: Any, me: Any, after: int | None, batch: str, now: datetime
) -> dict[str, Any] | None:
    """What was just done, with a way to undo it while there is time."""
    if batch:
        made = [d for d in decisions.of_batch(connection, clean(batch)) if d.action != "undo"]
        if not made or made[0].moderator_id != me.id:
            return None
        left = [d for d in made if d.may_be_undone(me, now)]
        return _banner(made[0], now, f"{len(made)} flags", bool(left), f"/bulk/{batch}/undo")
    if after is None:
        return None
    try:
        decision = decisions.by_id(connection, after)
    except NotFound:
        return None
    if decision.moderator_id != me.id:
        return None
    undo = f"/decisions/{decision.id}/undo"
    may = decision.may_be_undone(me, now)
    return _banner(decision, now, f"Post {decision.post_id}", may, undo)


def _banner(
    decision: decisions.Decision, now: datetime, what: str, may: bool, path: str
) -> dict[str, Any]:
    left = decisions.UNDO_SECONDS - (now - decision.created_at).total_seconds()
    return {
        "what": what,
        "action": decision.action,
        "undone": decision.undone,
        "undo": path if may else "",
        "seconds": max(0, int(left)),
    }


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1].rstrip() + "…"


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


def _language(given: str) -> str | None:
    if given and not re.fullmatch("[A-Za-z]{2,3}", given):
        raise ConfigurationError(
            f"language {given[:20]!r} is none; give two or three letters such as de, "
            f"or {UNKNOWN_LANGUAGE} for posts of which it is not known"
        )
    return given or None


def _share(name: str, given: str) -> float | None:
    if not given.strip():
        return None
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{name} {given[:20]!r} is no number from 0 to 1")
    return value
