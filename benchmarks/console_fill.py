"""A large database for `benchmarks.console`: verdicts, flags that wait, flags that are decided."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from sqlalchemy import Connection, Engine, text

from storage import tables
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import moderators

_TEXTS = 1000
_PICTURES = 100
_MODERATORS = 20
_WORDS = "some of the words that people write when the tap does not turn off again"
#: One open flag in so many has the rare rule, and one is in the rare language.
RARE = 9973


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows.

    Args:
        verdicts: all of them, those of flags too.
        waiting: open flags.
        decided: closed flags of the last 30 days, with a decision and two audit entries each.
    """

    verdicts: int
    waiting: int
    decided: int


def put_evidence(store: EvidenceStore) -> list[str]:
    """Writes the texts and pictures that the flags of `fill` share; the same at each call.

    Returns:
        the evidence of a verdict, as JSON, for each text.
    """
    pictures = []
    for number in range(_PICTURES):
        content = io.BytesIO()
        Image.radial_gradient("L").rotate(number).convert("RGB").save(content, "JPEG", quality=85)
        pictures.append(store.put(content.getvalue()))
    found = []
    for number in range(_TEXTS):
        words = f"text {number}: {_WORDS} {_WORDS}"
        kept = {
            "original_text": store.put(words.encode()),
            "text": store.put(words.upper().encode()),
            "image": pictures[number % _PICTURES],
        }
        found.append(json.dumps([{"kind": k, "sha256": sha256} for k, sha256 in kept.items()]))
    return found


def fill(database: Engine, size: Size, evidence: Sequence[str]) -> None:
    """Fills an empty, migrated database.

    Args:
        evidence: of verdicts that have a flag, in turn.
    """
    sql = _Sql(database.dialect.name)
    with transaction(database) as connection:
        for number in range(_MODERATORS):
            moderators.add(connection, f"mod{number}", "moderator", actor="benchmark")
        connection.execute(text("CREATE TABLE some_evidence (n INTEGER PRIMARY KEY, found TEXT)"))
        connection.execute(
            text("INSERT INTO some_evidence VALUES (:n, :found)"),
            [{"n": n, "found": found} for n, found in enumerate(evidence)],
        )
        _verdicts(connection, sql, size)
        _waiting(connection, sql, size)
        _decided(connection, sql, size)
        connection.execute(text("DROP TABLE some_evidence"))
        connection.execute(
            text("INSERT INTO tallies VALUES ('verdicts', 1, :v), ('flags', 1, :f)"),
            {"v": size.verdicts, "f": size.waiting + size.decided},
        )
    with transaction(database) as connection:
        connection.execute(text("ANALYZE"))


class _Sql:
    """What the two databases spell differently."""

    def __init__(self, kind: str) -> None:
        self.is_postgresql = kind == "postgresql"

    def numbers(self) -> str:
        """The numbers from `:first` to `:last`, as `n`."""
        if self.is_postgresql:
            return "(SELECT n FROM generate_series(CAST(:first AS integer), :last) AS n) AS s"
        return (
            "(WITH RECURSIVE s(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM s WHERE n < :last)"
            " SELECT n FROM s) AS s"
        )

    def ago(self, seconds: str) -> str:
        """So long ago."""
        if self.is_postgresql:
            return f"now() - ({seconds}) * interval '1 second'"
        return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ({seconds}) || ' seconds')"

    def json(self, value: str) -> str:
        """A text as JSON."""
        return f"CAST({value} AS jsonb)" if self.is_postgresql else value

    def padded(self, number: str) -> str:
        """A number with 64 digits."""
        if self.is_postgresql:
            return f"lpad(CAST({number} AS text), 64, '0')"
        return f"printf('%064d', {number})"


def _verdicts(connection: Connection, sql: _Sql, size: Size) -> None:
    # An index is made faster than it is kept while it grows.
    for index in tables.verdicts.indexes:
        index.drop(connection)
    alone = '{"negative": 0.4123, "neutral": 0.3213, "positive": 0.2664, "sarcasm": 0.1234}'
    timings = '{"fetch": 0.0213, "prepare": 0.0102, "predict": 0.0711, "record": 0.0042}'
    flagged = size.waiting + size.decided
    statement = (
        "INSERT INTO verdicts (post_id, author, content_hash, model_version, calibration_version,"
        " policy_version, negative, neutral, positive, sarcasm, text_alone, image_alone, degraded,"
        " evidence, timings, created_at)"
        f" SELECT 'p' || n, 'author' || (n % 5000), {sql.padded('n')}, 'mini-1', 'c', 'p',"
        " (n % 997) / 1000.0, 0.1, 0.1, (n % 991) / 1000.0,"
        f" {sql.json(':alone')}, {sql.json(':alone')}, '[]',"
        f" {sql.json('(SELECT found FROM some_evidence AS e WHERE e.n = s.n % :texts)')},"
        f" {sql.json(':timings')}, {sql.ago('n')} FROM {sql.numbers()}"
    )
    given = {"alone": alone, "timings": timings, "texts": _TEXTS}
    connection.execute(text(statement), {**given, "first": 1, "last": flagged})
    plain = statement.replace(
        sql.json("(SELECT found FROM some_evidence AS e WHERE e.n = s.n % :texts)"), "'[]'"
    )
    del given["texts"]
    connection.execute(text(plain), {**given, "first": flagged + 1, "last": size.verdicts})
    for index in tables.verdicts.indexes:
        index.create(connection)


def _flags(sql: _Sql, more: str, values: str) -> str:
    reasons = (
        f"""CASE WHEN n % {RARE} = 0 THEN '[{{"rule": "rare", "conditions": []}}]'"""
        """ ELSE '[{"rule": "negative", "conditions": []}]' END"""
    )
    return (
        "INSERT INTO flags (post_id, verdict_id, queue, priority, reasons, author, negative,"
        f" sarcasm, search_text, language, row_version, {more})"
        " SELECT 'p' || n, n,"
        " CASE n % 4 WHEN 0 THEN 'sarcasm' WHEN 1 THEN 'degraded' ELSE 'negative' END,"
        f" (n % 3) * 20, {sql.json(reasons)}, 'author' || (n % 5000), (n % 997) / 1000.0,"
        f" (n % 991) / 1000.0, 'a post of {_WORDS} {_WORDS} word' || n,"
        f" CASE WHEN n % {RARE} = 0 THEN 'is' WHEN n % 10 = 0 THEN 'de' ELSE 'en' END, 1,"
        f" {values} FROM {sql.numbers()}"
    )


def _waiting(connection: Connection, sql: _Sql, size: Size) -> None:
    statement = _flags(sql, "state, opened_at", f"'open', {sql.ago('2 * n')}")
    connection.execute(text(statement), {"first": 1, "last": size.waiting})
    connection.execute(
        text(
            "INSERT INTO flag_rules (rule, flag_id) SELECT"
            f" CASE WHEN verdict_id % {RARE} = 0 THEN 'rare' ELSE 'negative' END, id FROM flags"
        )
    )


def _decided(connection: Connection, sql: _Sql, size: Size) -> None:
    if not size.decided:
        return
    step = 30 * 86_400 / size.decided
    age = f"(n - {size.waiting}) * {step}"
    outcome = "CASE WHEN n % 3 = 0 THEN 'approve' ELSE 'remove' END"
    given = {"first": size.waiting + 1, "last": size.waiting + size.decided}
    statement = _flags(
        sql,
        "state, opened_at, closed_at, outcome",
        f"'decided', {sql.ago(age + ' + 900')}, {sql.ago(age)}, {outcome}",
    )
    connection.execute(text(statement), given)
    connection.execute(
        text(
            "INSERT INTO flag_rules (rule, flag_id) SELECT"
            f" CASE WHEN verdict_id % {RARE} = 0 THEN 'rare' ELSE 'negative' END, id FROM flags"
            " WHERE state = 'decided'"
        )
    )
    # Oldest first, as they were made.
    who = f"(SELECT id FROM moderators WHERE name = 'mod' || (n % {_MODERATORS}))"
    age = f"({size.waiting} + {size.decided} - n) * {step}"
    connection.execute(
        text(
            "INSERT INTO decisions (flag_id, verdict_id, moderator_id, action, reason_code,"
            " sentiment, sarcastic, agrees_sentiment, seconds_taken, created_at)"
            f" SELECT f.id, f.verdict_id, {who.replace('n %', 's.n %')}, f.outcome, 'hate',"
            f" 'negative', false, true, 7.5, {sql.ago(age.replace('- n)', '- s.n)'))}"
            f" FROM {sql.numbers()} JOIN flags AS f ON f.verdict_id = s.n ORDER BY s.n"
        ),
        given,
    )
    for action in ("flag.claim", "flag.remove"):
        connection.execute(
            text(
                "INSERT INTO audit_log (at, actor, action, subject)"
                f" SELECT {sql.ago(age)}, 'mod' || (n % {_MODERATORS}), '{action}', 'flag ' || n"
                f" FROM {sql.numbers()}"
            ),
            given,
        )
    connection.execute(
        text(
            "INSERT INTO reviews (flag_id, verdict_id, decision_id, kind, expected, state,"
            " row_version, opened_at) SELECT flag_id, verdict_id, id, 'sample', action, 'open', 1,"
            " created_at FROM decisions WHERE id % 100 = 0"
        )
    )
