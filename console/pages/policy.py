"""The policy in use, those before it, and what another one would mean."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from console.web.access import GuardedRoute
from console.web.fields import clean
from console.web.render import page
from console.web.state import audited, console_of
from deadpan.core.errors import ConfigurationError, NotFound, PolicyError
from deadpan.core.people_files import MAX_BYTES, UnreadableFileError, toml_of
from storage.base.database import transaction
from storage.judging import policies
from storage.reports import judged
from storage.tables import StoredPolicy
from tasks.policy import goals
from tasks.policy.rules import LANGUAGE, Policy, parse_policy
from tasks.policy.what_if import Change, text_with_threshold, what_if

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
DAYS: Final = 30
#: Somebody waits: so many take about a second, whatever the number of verdicts.
_FLAGS: Final = 2_000
_UNFLAGGED: Final = 4_000
_HISTORY: Final = 50
_REASON_CHARACTERS: Final = 500
_Text = Annotated[str, Form(max_length=MAX_BYTES)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody moves: a rule to a threshold, or to the one that reaches a goal.

    Attributes:
        goal: what `value` is: "threshold", "precision" in percent, or "flags" a day.
        value: as it was typed.
    """

    rule: str = ""
    goal: str = "threshold"
    value: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """Another policy beside the one in use.

    Attributes:
        text: of the other one, as TOML.
        diff: its lines against the one in use.
        found: the threshold that reaches a goal, where one was asked for.
    """

    text: str
    version: str
    diff: list[str]
    change: Change
    found: goals.Found | None


@router.get("/policy")
def policy_page(request: Request) -> Response:
    """The rules in use in plain words, and the versions before."""
    known = known_policies(request)
    rules = sorted(_policy(known[0].text).rules, key=lambda r: -r.priority) if known else []
    promises = _policy(known[0].text).queue_promises if known else {}
    return page(request, "policy.html", known=known, rules=rules, promises=promises)


@router.get("/what-if")
def what_if_page(
    request: Request,
    rule: str = "",
    goal: str = "threshold",
    value: str = "",
    version: str = "",
) -> Response:
    """What another threshold would mean, or an earlier policy."""
    known = known_policies(request)
    asked = Asked(clean(rule), clean(goal), clean(value))
    if version:
        earlier = next((each for each in known if each.version == version), None)
        if earlier is None:
            raise NotFound(f"no policy has the version {clean(version)[:80]!r}")
        return _answer(request, known, asked, earlier.text, tried=True)
    return _answer(request, known, asked, known[0].text if known else "", tried=bool(asked.rule))


@router.post("/what-if")
def what_if_text(request: Request, text: _Text = "") -> Response:
    """What a policy that somebody wrote would mean."""
    return _answer(request, known_policies(request), Asked(), text, tried=True)


@router.post("/what-if/take")
def take(request: Request, text: _Text = "", why: _Text = "") -> Response:
    """The file of a policy, to be committed by who takes it; the audit log says that they did."""
    known, why = known_policies(request), why.strip()
    try:
        new = _policy(text)
        if not why or len(why) > _REASON_CHARACTERS:
            raise ConfigurationError(
                f"the reason has {len(why)} characters; say in 1 to {_REASON_CHARACTERS} why this "
                "policy is to be used"
            )
    except ConfigurationError as error:
        return _answer(request, known, Asked(), text, tried=True, problem=error, why=why)
    in_use = known[0].version if known else None
    audited(request, "policy.take", f"policy {new.version}", {"in use": in_use, "why": why})
    return Response(
        _unix(text),
        media_type="application/toml",
        headers={"Content-Disposition": f'attachment; filename="policy-{new.version}.toml"'},
    )


def _answer(
    request: Request,
    known: list[StoredPolicy],
    asked: Asked,
    text: str,
    *,
    tried: bool,
    problem: ConfigurationError | None = None,
    why: str = "",
) -> Response:
    """The page; what was typed is on it whatever is wrong with it."""
    text, more = _unix(text), dict[str, Any]()
    if known and tried:
        try:
            compared = compare(request, known[0], asked, text)
            more = {each.name: getattr(compared, each.name) for each in fields(compared)}
        except ConfigurationError as error:
            problem = problem or error
    rules = _policy(known[0].text).rules if known else ()
    return page(
        request,
        "what_if.html",
        status=422 if problem else 200,
        known=known,
        movable=[r for r in rules if any(c.score != LANGUAGE for c in r.conditions)],
        asked=asked,
        days=DAYS,
        problem=problem,
        why=why,
        **{"text": text, "change": None} | more,
    )


def compare(request: Request, in_use: StoredPolicy, asked: Asked, text: str) -> Compared:
    """What another policy would mean, of a sample of the last days: `text`, or a moved rule.

    Raises:
        PolicyError: the policy is no good, or no threshold reaches the goal.
    """
    before, until = _policy(in_use.text), datetime.now(UTC)
    # read first: what is wrong with it needs no look at any verdict
    after = _policy(text)
    with transaction(console_of(request).database, read_only=True) as connection:
        sample = judged.sample(
            connection,
            since=until - timedelta(days=DAYS),
            until=until,
            flags=_FLAGS,
            unflagged=_UNFLAGGED,
        )
    found = None
    if asked.rule:
        threshold, found = _moved(before, asked, sample)
        text = text_with_threshold(in_use.text, asked.rule, threshold)
        after = _policy(text)
    lines = difflib.unified_diff(
        _unix(in_use.text).splitlines(),
        text.splitlines(),
        f"policy {in_use.version}",
        f"policy {after.version}",
        lineterm="",
    )
    return Compared(text, after.version, list(lines), what_if(before, after, sample), found)


def _moved(before: Policy, asked: Asked, sample: judged.Sample) -> tuple[float, goals.Found | None]:
    try:
        value = float(asked.value)
    except ValueError:
        raise PolicyError(f"{asked.value[:40]!r} is no number; write one such as 0.7") from None
    if asked.goal == "threshold":
        return value, None
    if asked.goal == "precision":
        found = goals.for_precision(before, asked.rule, sample, value / 100)
    elif asked.goal == "flags":
        found = goals.for_flags_a_day(before, asked.rule, sample, value)
    else:
        raise PolicyError(
            f"goal {asked.goal[:40]!r} is unknown; goals are threshold, precision and flags"
        )
    return found.threshold, found


def known_policies(request: Request) -> list[StoredPolicy]:
    """Policies that judged posts, the one in use first."""
    with transaction(console_of(request).database, read_only=True) as connection:
        return policies.history(connection, limit=_HISTORY)


def _policy(text: str) -> Policy:
    try:
        return parse_policy(toml_of(text))
    except UnreadableFileError as error:
        raise PolicyError(f"the policy {error}") from None


def _unix(text: str) -> str:
    """With the line breaks of a file: browsers send others."""
    return text.replace("\r\n", "\n")
