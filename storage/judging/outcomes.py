"""`record` stores what became of a chunk, in one transaction of the caller."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, case, delete, func, select, text
from sqlalchemy import insert as plain_insert

from storage import tables
from storage.base.columns import stored
from storage.base.database import insert
from storage.base.text import (
    MAX_ERROR_CHARACTERS,
    MAX_RULE_CHARACTERS,
    clean_json,
    clean_text,
    primary_language,
    printed_post_id,
    search_form,
)
from storage.judging import explanations, tallies
from storage.judging.explanations import NewExplanation
from storage.judging.outbox import add_events
from storage.judging.queries import in_parts
from storage.judging.values import (
    GonePost,
    NewDeadLetter,
    NewEvidence,
    NewFlag,
    NewVerdict,
    Recorded,
    plain,
)
from storage.judging.verdict_event import Report, is_reported, verdict_created
from storage.tables import OF_WORDS, VERDICT_KEY

#: What flags are searched by.
_FLAG_SCORES: Final = ("negative", "sarcasm", *OF_WORDS)


def record(
    connection: Connection,
    *,
    verdicts: Iterable[NewVerdict],
    dead_letters: Iterable[NewDeadLetter] = (),
    gone: Iterable[GonePost] = (),
    evidence: Iterable[NewEvidence] = (),
    report: Report = "none",
    now: datetime | None = None,
) -> Recorded:
    """Stores what became of a chunk; doing it twice leaves the same rows.

    A verdict that is there already (same post, content, model and policy) is left as it is, and
    opens no flag: a chunk done again must not reopen what a human has closed. A new verdict with a
    flag opens one, or renews the one its post already has: reasons, queue and verdict of the new
    one, the higher priority, the earlier due time. A look waits beside flags, becomes one when its
    post is flagged, and never replaces one.

    All rows go in a fixed order of tables and keys, so that two workers that write about the same
    posts never deadlock.

    Args:
        report: which new verdicts the platform is told of, through the outbox.
    """
    moment = now if now is not None else datetime.now(UTC)
    new_evidence = _write_evidence(connection, evidence, moment)
    judged = {_key(verdict): verdict for verdict in verdicts}
    new_verdicts = _write_verdicts(connection, [judged[key] for key in sorted(judged)], moment)
    written = [(judged[key], number) for key, number in sorted(new_verdicts.items())]
    _write_uses(connection, written)
    opened, updated = _write_flags(connection, written, moment)
    opened |= _write_looks(connection, written, moment)
    flag_ids = opened | updated
    add_events(
        connection,
        (
            verdict_created(
                verdict, number, flag_id=flag_ids.get(verdict.post_id), created_at=moment
            )
            for verdict, number in written
            if is_reported(verdict, report)
        ),
    )
    tallies.add(connection, {"verdicts": len(new_verdicts), "flags": len(opened)})
    return Recorded(
        verdict_ids={key[0]: number for key, number in sorted(new_verdicts.items())},
        opened_flag_ids=opened,
        updated_flag_ids=updated,
        dead_letters=_write_dead_letters(connection, dead_letters, moment),
        gone=_write_gone(connection, gone, moment),
        evidence=new_evidence,
    )


def _key(verdict: NewVerdict) -> tuple[str, ...]:
    return tuple(getattr(verdict, name) for name in VERDICT_KEY)


def _write_verdicts(
    connection: Connection, verdicts: Sequence[NewVerdict], now: datetime
) -> dict[tuple[str, ...], int]:
    if not verdicts:
        return {}
    columns = tables.verdicts.c
    statement = (
        insert(connection, tables.verdicts)
        .on_conflict_do_nothing(index_elements=VERDICT_KEY)
        .returning(columns.id, *(columns[name] for name in VERDICT_KEY))
    )
    rows = [{**stored(tables.verdicts, each), "created_at": now} for each in verdicts]
    return {tuple(row[1:]): row[0] for row in connection.execute(statement, rows)}


def _write_uses(connection: Connection, written: Sequence[tuple[NewVerdict, int]]) -> None:
    rows = [
        {"sha256": sha256, "verdict_id": number}
        for verdict, number in written
        for sha256 in sorted({item["sha256"] for item in verdict.evidence})
    ]
    if rows:
        connection.execute(plain_insert(tables.evidence_uses), rows)


def _write_flags(
    connection: Connection, written: Sequence[tuple[NewVerdict, int]], now: datetime
) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the ids of flags opened, and of those renewed, by post id."""
    # PostgreSQL refuses to touch one row twice in a statement, so a post whose content changed
    # within the chunk brings its last flag only.
    flags = {
        verdict.post_id: (verdict, verdict.flag, verdict_id)
        for verdict, verdict_id in written
        if verdict.flag is not None and verdict.is_flagged
    }
    if not flags:
        return {}, {}
    upsert = insert(connection, tables.flags)
    there, new = tables.flags.c, upsert.excluded
    renewed = (
        "inclusion",
        "blind",
        "verdict_id",
        "queue",
        "reasons",
        "author",
        *_FLAG_SCORES,
        "search_text",
        "language",
    )
    statement = upsert.on_conflict_do_update(
        index_elements=["post_id"],
        index_where=text(tables.UNCLOSED_FLAG),
        set_={
            **{name: new[name] for name in renewed},
            "priority": case((new.priority > there.priority, new.priority), else_=there.priority),
            "due_at": case(
                (new.due_at < func.coalesce(there.due_at, new.due_at), new.due_at),
                else_=func.coalesce(there.due_at, new.due_at),
            ),
            "row_version": there.row_version + 1,
            # Placed anew, by what is known of it now.
            "rank_at": None,
            "placement": None,
        },
    ).returning(there.id, there.post_id, there.row_version)
    rows = [_flag_row(*each, now) for each in flags.values()]
    opened: dict[str, int] = {}
    updated: dict[str, int] = {}
    for number, post_id, row_version in connection.execute(statement, rows):
        (opened if row_version == 1 else updated)[post_id] = number
    _write_explanations(connection, flags, opened, updated, now)
    rules = {number: _rules(flags[post_id][1]) for post_id, number in (opened | updated).items()}
    _write_rules(connection, rules, updated.values())
    return opened, updated


def _write_looks(
    connection: Connection, written: Sequence[tuple[NewVerdict, int]], now: datetime
) -> dict[str, int]:
    """Returns the ids of looks opened, by post id. A post that waits as a flag needs none, and no
    post is looked at twice, whatever it is judged by.
    """
    looks = {
        verdict.post_id: (verdict, verdict.flag, verdict_id)
        for verdict, verdict_id in written
        if verdict.flag is not None and not verdict.is_flagged
    }
    flags = tables.flags.c
    for part in in_parts(looks):
        before = select(flags.post_id).where(flags.post_id.in_(part), flags.inclusion.is_not(None))
        for post_id in connection.execute(before).scalars().all():
            looks.pop(post_id, None)
    if not looks:
        return {}
    statement = (
        insert(connection, tables.flags)
        .on_conflict_do_nothing(index_elements=["post_id"], index_where=text(tables.UNCLOSED_FLAG))
        .returning(flags.id, flags.post_id)
    )
    rows = [_flag_row(*each, now) for each in looks.values()]
    return {post_id: number for number, post_id in connection.execute(statement, rows)}


def _write_explanations(
    connection: Connection,
    flags: Mapping[str, tuple[NewVerdict, NewFlag, int]],
    opened: Mapping[str, int],
    updated: Mapping[str, int],
    now: datetime,
) -> None:
    """What is to be explained of these flags, by post id; what was found out about a verdict that a
    renewed flag no longer stands for says nothing any more."""
    unasked = [number for post_id, number in updated.items() if flags[post_id][1].explain is None]
    if unasked:
        explanations.forget(connection, unasked)
    wanted = [
        NewExplanation(
            flag_id,
            verdict_id,
            flag.explain,
            verdict.model_version,
            verdict.calibration_version,
            flag.priority,
        )
        for post_id, (verdict, flag, verdict_id) in flags.items()
        if flag.explain is not None
        and (flag_id := opened.get(post_id) or updated.get(post_id)) is not None
    ]
    explanations.add(connection, wanted, now=now)


def _flag_row(verdict: NewVerdict, flag: NewFlag, verdict_id: int, now: datetime) -> dict[str, Any]:
    return {
        "post_id": verdict.post_id,
        "verdict_id": verdict_id,
        "state": "open",
        "queue": flag.queue,
        "priority": flag.priority,
        "reasons": clean_json(flag.reasons),
        "row_version": 1,
        "opened_at": now,
        "due_at": flag.due_at,
        "author": None if verdict.author is None else clean_text(verdict.author, 256),
        **{name: plain(getattr(verdict, name)) for name in _FLAG_SCORES},
        "search_text": None if flag.text is None else search_form(flag.text),
        "language": primary_language(flag.language),
        "inclusion": flag.inclusion,
        "blind": flag.blind,
    }


def _rules(flag: NewFlag) -> list[str]:
    found = (reason.get("rule") for reason in flag.reasons)
    names = (name for name in found if isinstance(name, str))
    return sorted({clean_text(name, MAX_RULE_CHARACTERS) for name in names})


def _write_rules(
    connection: Connection, rules: Mapping[int, Sequence[str]], renewed: Collection[int]
) -> None:
    """The rows of a flag are guarded by the lock on the flag itself, which was written before."""
    if renewed:
        connection.execute(
            delete(tables.flag_rules).where(tables.flag_rules.c.flag_id.in_(renewed))
        )
    rows = [{"rule": rule, "flag_id": number} for number, names in rules.items() for rule in names]
    if rows:
        connection.execute(plain_insert(tables.flag_rules), rows)


def _write_dead_letters(
    connection: Connection, dead_letters: Iterable[NewDeadLetter], now: datetime
) -> int:
    rows = {
        printed_post_id(letter.post_id): {
            "stage": clean_text(letter.stage, 64),
            "error": clean_text(letter.error, MAX_ERROR_CHARACTERS),
            "attempts": letter.attempts,
            "created_at": now,
            "updated_at": now,
        }
        for letter in dead_letters
    }
    renewed = ("stage", "error", "attempts", "updated_at")
    where = tables.UNREPLAYED_DEAD_LETTER
    return _write(connection, tables.dead_letters, "post_id", rows, renewed=renewed, where=where)


def _write_gone(connection: Connection, gone: Iterable[GonePost], now: datetime) -> int:
    rows = {
        post.post_id: {
            "why": clean_text(post.why, MAX_ERROR_CHARACTERS),
            "seen_at": now,
            "last_seen_at": now,
        }
        for post in gone
    }
    renewed = ("why", "last_seen_at")
    return _write(connection, tables.gone_posts, "post_id", rows, renewed=renewed)


def _write_evidence(connection: Connection, evidence: Iterable[NewEvidence], now: datetime) -> int:
    rows = {
        item.sha256: {
            "kind": item.kind,
            "media_type": clean_text(item.media_type, 100),
            "bytes": item.size,
            "created_at": now,
        }
        for item in evidence
    }
    return _write(connection, tables.evidence, "sha256", rows)


def _write(
    connection: Connection,
    into: Table,
    key: str,
    rows: Mapping[str, Mapping[str, Any]],
    *,
    renewed: Sequence[str] = (),
    where: str | None = None,
) -> int:
    """Inserts rows in the order of their keys, and returns how many were written; those that are
    there are renewed in these columns, or left alone without any.
    """
    if not rows:
        return 0
    upsert = insert(connection, into)
    if renewed:
        statement = upsert.on_conflict_do_update(
            index_elements=[key],
            index_where=None if where is None else text(where),
            set_={name: upsert.excluded[name] for name in renewed},
        )
    else:
        statement = upsert.on_conflict_do_nothing(index_elements=[key])
    values = [{key: name, **rows[name]} for name in sorted(rows)]
    return len(connection.execute(statement.returning(into.c[key]), values).all())
