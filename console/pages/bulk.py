"""The same decision for many flags: a preview, then all of it, then one undo."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from console.web import reasons
from console.web.access import GuardedRoute
from console.web.fields import BIGGEST, Note, Short, clean
from console.web.render import page, see_other
from console.web.state import console_of, visitor_of
from console.web.words import excerpt
from console.work import blind
from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.flags import claims, decisions, worklist
from storage.flags.decisions import Said
from storage.flags.states import is_held
from storage.flags.worklist import Flag
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reviews import reviews

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
MOST = 100
#: So many of a post are shown in the preview.
_PICTURES = 4


@router.post("/bulk")
def preview(
    request: Request,
    flag: Annotated[list[int] | None, Form()] = None,
    action: Short = "",
    reason_code: Short = "",
) -> Response:
    """Show what would change, and change nothing."""
    console, me = console_of(request), visitor_of(request).moderator
    code = reasons.chosen(console.reasons, action, reason_code)
    ids = _ids(flag)
    Said(action=action)  # type: ignore[arg-type]  # it checks
    now = datetime.now(UTC)
    with transaction(console.database, read_only=True) as connection:
        not_now = reviews.hidden_from(connection, me, ids)
        flags = [each for each in worklist.many(connection, ids) if each.id not in not_now]
    rows: list[dict[str, Any]] = []
    for each in flags:
        kept = [item["sha256"] for item in each.verdict.evidence if item["kind"] == "image"]
        rows.append(
            {
                "flag": each,
                "hides_why": blind.hides_why(me, each),
                "problem": _problem(each, me, now),
                "text": excerpt(console.text(each.verdict.evidence, "original_text")),
                "pictures": kept[:_PICTURES],
                "more": len(kept[_PICTURES:]),
            }
        )
    will = [row for row in rows if not row["problem"]]
    return page(
        request,
        "bulk.html",
        rows=rows,
        will=will,
        queues=Counter(row["flag"].queue for row in will),
        action=action,
        pictures=str(me.settings.get("pictures", "blur")),
        reason_code=code or "",
        reason=console.reasons.get(code, "") if code else "",
    )


@router.post("/bulk/decide")
def decide(
    request: Request,
    seen: Annotated[list[str] | None, Form()] = None,
    action: Short = "",
    reason_code: Short = "",
    note: Note = "",
) -> Response:
    """Decide all that the preview showed, in one transaction; what others took is left to them."""
    console, me = console_of(request), visitor_of(request).moderator
    code = reasons.chosen(console.reasons, action, reason_code)
    shown = _seen(seen)
    said = Said(action=action, reason_code=code, note=note or None)  # type: ignore[arg-type]
    with transaction(console.database) as connection:
        batch, made, refused = decisions.decide_batch(
            connection,
            shown,
            me,
            said,
            report=console.report_decisions,
            second_looks=console.second_looks,
        )
        audit.write(
            connection,
            me.name,
            f"bulk.{action}",
            f"batch {batch}",
            after={"decided": len(made), "refused": len(refused)},
        )
    console.changed()
    not_now = blind.hidden(request, refused) if refused else {}
    refused = {n: blind.HIDDEN if n in not_now else why for n, why in refused.items()}
    if not made:
        return page(request, "bulk_none.html", refused=refused, status=409)
    return see_other(f"/?batch={batch}")


@router.post("/bulk/{batch}/undo")
def undo(request: Request, batch: str) -> Response:
    """Take all of it back."""
    console, me = console_of(request), visitor_of(request).moderator
    with transaction(console.database) as connection:
        undone, refused = decisions.undo_batch(
            connection, clean(batch), me, report=console.report_decisions
        )
        audit.write(
            connection,
            me.name,
            "bulk.undo",
            f"batch {clean(batch)}",
            after={"undone": len(undone), "refused": len(refused)},
        )
    console.changed()
    if refused:
        return page(request, "bulk_none.html", refused=refused, undone=len(undone), status=409)
    return see_other("/")


def _problem(flag: Flag, me: Moderator, now: datetime) -> str:
    """Why somebody cannot decide a flag; empty if they can."""
    if flag.state == "decided":
        return "already decided"
    if is_held(claims.standing_of(flag), now) and flag.claimed_by != me.name:
        return f"claimed by {flag.claimed_by}"
    return "escalated to a lead" if flag.escalated_at is not None and not me.is_lead else ""


def _ids(given: list[int] | None) -> list[int]:
    if not given:
        raise ConfigurationError("nothing is selected; select flags first")
    if len(given) > MOST:
        raise ConfigurationError(f"{len(given)} flags are selected; select at most {MOST} at once")
    return [number for number in given if 0 < number < BIGGEST]


def _seen(given: list[str] | None) -> dict[int, int]:
    """Verdict ids by flag id, as the preview sent them: "flag:verdict"."""
    try:
        pairs = [each.split(":") for each in given or []]
        shown = {int(flag_id): int(verdict_id) for flag_id, verdict_id in pairs}
    except ValueError:
        raise ConfigurationError("the selection is invalid; go back and select again") from None
    _ids(list(shown))
    return {f: v for f, v in shown.items() if 0 < f < BIGGEST and 0 < v < BIGGEST}
