"""What is read of posts and their outcomes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    func,
    select,
    text,
    update,
)

from storage import tables
from storage.base.database import transaction
from storage.base.text import printed_post_id
from storage.judging import tallies
from storage.tables import DeadLetter, Verdict

Outcome = Literal["judged", "gone", "dead_letter"]
_T = TypeVar("_T")
#: SQLite takes at most 32766 parameters in a statement, older builds 999.
_MANY: Final = 500


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows there are; `flags` by state, `dead_letters` those not replayed."""

    verdicts: int
    flags: Mapping[str, int]
    dead_letters: int
    gone: int


def ping(engine: Engine) -> None:
    """Returns if the database answers, and raises DatabaseUnavailable if not."""
    with transaction(engine, read_only=True) as connection:
        connection.execute(text("SELECT 1"))


def latest_verdict(connection: Connection, post_id: str) -> Verdict | None:
    """Returns the newest verdict of a post, if it has one."""
    return verdicts_of(connection, [post_id]).get(post_id)


def verdicts_of(connection: Connection, post_ids: Iterable[str]) -> dict[str, Verdict]:
    """Returns the newest verdict of each post that has one, by post id."""
    columns = tables.verdicts.c
    found: dict[str, Verdict] = {}
    for part in in_parts(post_ids):
        newest = (
            select(func.max(columns.id)).where(columns.post_id.in_(part)).group_by(columns.post_id)
        )
        for row in connection.execute(select(tables.verdicts).where(columns.id.in_(newest))):
            verdict = Verdict(**row._mapping)
            found[verdict.post_id] = verdict
    return found


def later(
    connection: Connection, verdict: Verdict
) -> tuple[Literal["changed", "gone"], datetime] | None:
    """Returns what became of a post after a verdict, and when, as far as it was fetched again: it
    has other content, or its source no longer has it. None where nothing is known.
    """
    columns, gone = tables.verdicts.c, tables.gone_posts.c
    of_post = select(columns.content_hash, columns.created_at).where(
        columns.post_id == verdict.post_id, columns.id > verdict.id
    )
    newest = connection.execute(of_post.order_by(columns.id.desc()).limit(1)).one_or_none()
    seen = newest.created_at if newest else verdict.created_at
    left = connection.execute(
        select(gone.last_seen_at).where(gone.post_id == verdict.post_id, gone.last_seen_at > seen)
    ).scalar_one_or_none()
    if left is not None:
        return "gone", left
    if newest is not None and newest.content_hash != verdict.content_hash:
        return "changed", newest.created_at
    return None


def already_judged(
    connection: Connection,
    keys: Collection[tuple[str, str]],
    *,
    model_version: str,
    calibration_version: str,
    policy_version: str,
) -> set[tuple[str, str]]:
    """Returns those pairs of post id and content hash that have a verdict of these versions."""
    columns = tables.verdicts.c
    found: set[tuple[str, str]] = set()
    for part in in_parts({post_id for post_id, _ in keys}):
        rows = connection.execute(
            select(columns.post_id, columns.content_hash).where(
                columns.post_id.in_(part),
                columns.model_version == model_version,
                columns.calibration_version == calibration_version,
                columns.policy_version == policy_version,
            )
        )
        found.update((row[0], row[1]) for row in rows)
    return found & set(keys)


def counts(connection: Connection) -> Counts:
    """Counts what there is; every state of a flag is there, with zero if need be.

    Verdicts and decided flags, of which there may be millions, are not counted but taken from
    tallies; what waits is counted in an index.
    """

    def how_many(condition: ColumnElement[bool]) -> int:
        return int(connection.execute(select(func.count()).where(condition)).scalar_one())

    states = dict.fromkeys(tables.FLAG_STATES, 0)
    flags = tables.flags.c
    for state, number in connection.execute(
        select(flags.state, func.count())
        .where(flags.state.in_(tables.UNCLOSED_STATES))
        .group_by(flags.state)
    ):
        states[state] = number
    states["decided"] = max(0, tallies.total(connection, "flags") - sum(states.values()))
    return Counts(
        verdicts=tallies.total(connection, "verdicts"),
        flags=states,
        dead_letters=how_many(tables.dead_letters.c.replayed_at.is_(None)),
        gone=how_many(tables.gone_posts.c.id.is_not(None)),
    )


def dead_letters(
    connection: Connection, *, limit: int, before_id: int | None = None, replayed: bool = False
) -> list[DeadLetter]:
    """Returns dead letters, newest first; with `replayed`, those that were replayed too."""
    columns = tables.dead_letters.c
    statement = select(tables.dead_letters).order_by(columns.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(columns.id < before_id)
    if not replayed:
        statement = statement.where(columns.replayed_at.is_(None))
    return [DeadLetter(**row._mapping) for row in connection.execute(statement)]


def dead_letter(connection: Connection, dead_letter_id: int) -> DeadLetter | None:
    """Returns one dead letter, replayed or not."""
    statement = select(tables.dead_letters).where(tables.dead_letters.c.id == dead_letter_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else DeadLetter(**row._mapping)


def mark_replayed(
    connection: Connection, dead_letter_ids: Iterable[int], *, now: datetime | None = None
) -> list[DeadLetter]:
    """Marks dead letters as replayed and returns those that were not so before.

    Push their post ids before the transaction commits: after a crash between the two, a post is
    judged twice with one effect; the other way round it would be lost.
    """
    columns = tables.dead_letters.c
    moment = now if now is not None else datetime.now(UTC)
    marked: list[DeadLetter] = []
    # In order, so that two who mark the same ones never deadlock.
    for part in in_parts(sorted(set(dead_letter_ids))):
        locked = (
            select(columns.id)
            .where(columns.id.in_(part), columns.replayed_at.is_(None))
            .order_by(columns.id)
            .with_for_update()
        )
        ids = list(connection.execute(locked).scalars())
        rows = connection.execute(
            update(tables.dead_letters)
            .where(columns.id.in_(ids))
            .values(replayed_at=moment)
            .returning(*columns)
        )
        marked.extend(DeadLetter(**row._mapping) for row in rows)
    return sorted(marked, key=lambda letter: letter.id)


def outcome_of(
    connection: Connection, post_ids: Iterable[str], *, since: datetime | None = None
) -> dict[str, Outcome]:
    """Says what became of each post last, by post id; only at or after `since`.

    An id that is not valid is found by its printed form.
    """
    asked = {printed_post_id(post_id): post_id for post_id in post_ids}
    verdicts, gone, letters = tables.verdicts.c, tables.gone_posts.c, tables.dead_letters.c
    found: dict[str, tuple[datetime, Outcome]] = {}
    for part in in_parts(asked):
        waiting = letters.post_id.in_(part) & letters.replayed_at.is_(None)
        judged = select(verdicts.post_id, func.max(verdicts.created_at))
        statements: list[tuple[Outcome, Select[Any]]] = [
            ("dead_letter", select(letters.post_id, letters.updated_at).where(waiting)),
            ("gone", select(gone.post_id, gone.last_seen_at).where(gone.post_id.in_(part))),
            ("judged", judged.where(verdicts.post_id.in_(part)).group_by(verdicts.post_id)),
        ]
        for outcome, statement in statements:
            for post_id, moment in connection.execute(statement):
                if since is not None and moment < since:
                    continue
                if post_id not in found or moment >= found[post_id][0]:
                    found[post_id] = (moment, outcome)
    return {asked[printed]: outcome for printed, (_, outcome) in found.items()}


def evidence_kind(connection: Connection, sha256: str) -> str | None:
    """Returns what a piece of evidence is: text, original_text or image; None when unknown."""
    columns = tables.evidence.c
    return connection.execute(
        select(columns.kind).where(columns.sha256 == sha256)
    ).scalar_one_or_none()


def in_parts(values: Iterable[_T]) -> Iterator[list[_T]]:
    """The values, at most so many at a time as fit into one statement."""
    rest = iter(values)
    while part := list(islice(rest, _MANY)):
        yield part
