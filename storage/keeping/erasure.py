"""Erasure: what a post or an author said is removed; a receipt stays.

Scores, versions and the states of flags stay, for statistics; they say nothing of the content. The
receipt keeps the SHA-256 of the id, not the id, so that an erased post is recognised when it comes
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    cast,
    delete,
    exists,
    false,
    insert,
    select,
    update,
)

from storage import tables
from storage.base.text import UNKNOWN_LANGUAGE, clean_text, printed_post_id
from storage.flags.claims import close_waiting
from storage.judging import explanations
from storage.judging.queries import in_parts
from storage.people import audit
from storage.tables import (
    challenger_verdicts,
    comments,
    decisions,
    known_answers,
    review_votes,
    reviews,
)

Kind = Literal["post", "author"]
ERASED = "erased on request"
"""Replaces a text that may have quoted the post."""
_NOTHING_TOLD: dict[str, Any] = {"degraded": [], "unread": [], "language": None, "unlearnt": False}
"""Of an event, in place of what it says of the content."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure removed.

    Attributes:
        receipt: number of the receipt.
        posts: posts of which something was there; none if a name was misspelt.
        verdicts: from which the content was removed.
        flags: that waited for a human and are closed now.
        notes: of moderators, and errors, that could quote the post.
        evidence: SHA-256 of what no other post has as evidence; the caller deletes it from the
            evidence store.
    """

    receipt: int
    posts: int
    verdicts: int
    flags: int
    notes: int
    evidence: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """The numbers, for people and receipts."""
        found = asdict(self)
        del found["receipt"]
        return {**found, "evidence": len(self.evidence)}


def digest(subject: str) -> str:
    """What a receipt keeps of an id: its SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()


def erase(
    connection: Connection,
    kind: Kind,
    subject: str,
    *,
    requested_by: str,
    now: datetime | None = None,
) -> Erased:
    """Removes what a post, or all posts of an author so far, said. Doing it twice does no harm.

    Args:
        connection: inside a transaction; the caller deletes the evidence and commits.
        subject: post id, or the author as the post source names them.
        requested_by: who asked for it, for the receipt.
    """
    moment = now if now is not None else datetime.now(UTC)
    verdicts, flags = tables.verdicts.c, tables.flags.c
    mine = verdicts.post_id == subject
    if kind == "author":
        author = clean_text(subject, 256)
        mine = verdicts.author == author
    there = kind == "author" or is_known(connection, subject)
    rows = connection.execute(select(verdicts.id, verdicts.post_id, verdicts.evidence).where(mine))
    verdict_ids: list[int] = []
    posts: set[str] = {subject} if kind == "post" else set()
    hashes: set[str] = set()
    for number, post_id, evidence in rows:
        verdict_ids.append(number)
        posts.add(post_id)
        hashes.update(item["sha256"] for item in evidence)
    for part in in_parts(verdict_ids):
        connection.execute(
            update(tables.verdicts)
            .where(verdicts.id.in_(part))
            .values(
                author=None,
                # the hash of a short text can be guessed; with the id it stays unique
                content_hash=("erased-" + cast(verdicts.id, String)),
                degraded=[],
                unread=[],
                language=None,
                unlearnt=false(),
                parent=None,
                url=None,
                evidence=[],
                explanation=None,
            )
        )
    closed = notes = 0
    for named in in_parts(sorted(posts)):
        connection.execute(
            update(tables.flags)
            .where(flags.post_id.in_(named))
            .values(author=None, search_text=None, language=UNKNOWN_LANGUAGE)
        )
        closed += close_waiting(connection, tables.flags, flags.post_id.in_(named), now=moment)
        explanations.forget(connection, _flags_of(named))
        notes += _erase_notes(connection, named)
        notes += _erase_reviews(connection, named, moment)
        _erase_events(connection, named)
        # Of a trial nothing need stay; the hash of a short text can be guessed.
        connection.execute(
            delete(challenger_verdicts).where(challenger_verdicts.c.post_id.in_(named))
        )
    removed = let_go(connection, verdict_ids, hashes)
    found = Erased(0, len(posts) if there else 0, len(verdict_ids), closed, notes, removed)
    receipt = _write_receipts(connection, kind, subject, posts, found, requested_by, moment)
    audit.write(
        connection,
        requested_by,
        f"erase.{kind}",
        f"receipt {receipt}",
        after=found.counts(),
        now=moment,
    )
    return replace(found, receipt=receipt)


def is_known(connection: Connection, post_id: str) -> bool:
    """Whether anything of a post was ever stored. Waiting in Redis does not count: nobody looks
    through millions of ids there.
    """
    sought = (
        tables.verdicts.c.post_id == post_id,
        tables.flags.c.post_id == post_id,
        tables.gone_posts.c.post_id == post_id,
        tables.dead_letters.c.post_id == printed_post_id(post_id),
    )
    return any(connection.execute(select(exists().where(each))).scalar() for each in sought)


def preview(connection: Connection, kind: Kind, subject: str) -> Erased:
    """Says what an erasure would remove, by doing it and rolling it back to where it began."""
    tried = connection.begin_nested()
    try:
        return erase(connection, kind, subject, requested_by="")
    finally:
        tried.rollback()


def receipts(connection: Connection, *, limit: int) -> list[tables.Receipt]:
    """Returns receipts, newest first."""
    columns = tables.erasures.c
    rows = connection.execute(select(tables.erasures).order_by(columns.id.desc()).limit(limit))
    return [tables.Receipt(**row._mapping) for row in rows]


def erased(connection: Connection, post_ids: Iterable[str]) -> set[str]:
    """Returns those of these posts that were erased."""
    by_digest = {digest(post_id): post_id for post_id in post_ids}
    columns = tables.erasures.c
    found: set[str] = set()
    for part in in_parts(by_digest):
        rows = connection.execute(
            select(columns.subject_sha256).where(
                columns.kind == "post", columns.subject_sha256.in_(part)
            )
        )
        found.update(by_digest[row[0]] for row in rows)
    return found


def _overwrite(connection: Connection, column: Column[Any], *which: ColumnElement[bool]) -> int:
    """Replaces texts that may have quoted the post, and returns how many."""
    written = (column.is_not(None), column != ERASED)
    statement = update(column.table).where(*which, *written).values({column.name: ERASED})
    return connection.execute(statement).rowcount


def _erase_notes(connection: Connection, post_ids: Sequence[str]) -> int:
    """Errors, and what moderators wrote of the flags; what they decided does not quote the post."""
    letters, gone, made = tables.dead_letters.c, tables.gone_posts.c, decisions.c
    printed = [printed_post_id(post_id) for post_id in post_ids]
    return (
        _overwrite(connection, letters.error, letters.post_id.in_(printed))
        + _overwrite(connection, gone.why, gone.post_id.in_(post_ids))
        + _overwrite(connection, made.note, made.flag_id.in_(_flags_of(post_ids)))
        + _overwrite(connection, comments.c.text, comments.c.flag_id.in_(_flags_of(post_ids)))
    )


def _flags_of(post_ids: Sequence[str]) -> Select[Any]:
    return select(tables.flags.c.id).where(tables.flags.c.post_id.in_(post_ids))


def _erase_reviews(connection: Connection, post_ids: Sequence[str], now: datetime) -> int:
    """What was written in second looks and appeals; those that wait are closed."""
    flags = _flags_of(post_ids)
    mine = reviews.c.flag_id.in_(flags)
    votes = review_votes.c.review_id.in_(select(reviews.c.id).where(mine))
    changed = _overwrite(connection, reviews.c.why, mine)
    changed += _overwrite(connection, review_votes.c.note, votes)
    changed += _overwrite(connection, known_answers.c.why, known_answers.c.flag_id.in_(flags))
    close_waiting(connection, reviews, mine, now=now)
    connection.execute(
        update(known_answers).where(known_answers.c.flag_id.in_(flags)).values(retired_at=now)
    )
    return changed


def _erase_events(connection: Connection, post_ids: Sequence[str]) -> None:
    """What the platform was told, and what of the content stands in what it is still to be told."""
    columns = tables.outbox.c
    mine = columns.post_id.in_(post_ids)
    connection.execute(delete(tables.outbox).where(mine, columns.delivered_at.is_not(None)))
    for number, payload in connection.execute(select(columns.id, columns.payload).where(mine)):
        told = {"content_hash", *_NOTHING_TOLD}
        kept = {name: payload[name] for name in payload if name not in told}
        connection.execute(
            update(tables.outbox)
            .where(columns.id == number)
            .values(payload={**kept, **_NOTHING_TOLD}, last_error=None)
        )


def let_go(
    connection: Connection, verdict_ids: Sequence[int], hashes: Collection[str]
) -> tuple[str, ...]:
    """Removes from verdicts their evidence, and what no other verdict has altogether, for the same
    picture is posted by many. Returns the SHA-256 of that; the caller deletes it from the store.
    """
    uses, evidence = tables.evidence_uses.c, tables.evidence.c
    for part in in_parts(verdict_ids):
        connection.execute(delete(tables.evidence_uses).where(uses.verdict_id.in_(part)))
    removed: list[str] = []
    for names in in_parts(sorted(hashes)):
        removed += connection.execute(
            delete(tables.evidence)
            .where(evidence.sha256.in_(names), ~exists().where(uses.sha256 == evidence.sha256))
            .returning(evidence.sha256)
        ).scalars()
    return tuple(sorted(removed))


def _write_receipts(
    connection: Connection,
    kind: Kind,
    subject: str,
    posts: set[str],
    found: Erased,
    requested_by: str,
    now: datetime,
) -> int:
    """One for what was asked, and one for every post of an author: each is known by itself."""
    base = {"requested_by": clean_text(requested_by, 256), "erased_at": now}
    receipt = connection.execute(
        insert(tables.erasures)
        .values(kind=kind, subject_sha256=digest(subject), counts=found.counts(), **base)
        .returning(tables.erasures.c.id)
    ).scalar_one()
    if kind == "author" and posts:
        connection.execute(
            insert(tables.erasures),
            [
                {"kind": "post", "subject_sha256": digest(post_id), "counts": {}, **base}
                for post_id in sorted(posts)
            ],
        )
    return int(receipt)
