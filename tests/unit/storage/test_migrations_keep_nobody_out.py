"""Migrations run while workers of the version before go on: they lock no large table, and take
nothing away. Each is asked for the SQL that it would run on PostgreSQL.

A migration may name a statement that is refused here in `REASONS`, by how it begins, with why it
does no harm.
"""

from __future__ import annotations

import io
import re
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage.migrations import online
from storage.migrations.schema import OLDEST_REVISION, _config

RULES = {
    r"DROP TABLE|ALTER TABLE .* (DROP (COLUMN|CONSTRAINT)|RENAME) ": "takes something away",
    r"ALTER TABLE .* ALTER COLUMN .* (TYPE|SET NOT NULL)": "rewrites or reads a whole table",
    r"ALTER TABLE .* ADD COLUMN (?!.*DEFAULT).* NOT NULL": "breaks what the version before inserts",
    r"ALTER TABLE .* ADD COLUMN .*DEFAULT .*\(": "may rewrite a whole table",
    r"ALTER TABLE .* ADD CONSTRAINT (?!.*NOT VALID)": "reads a whole table under a lock",
    r"(CREATE (UNIQUE )?|DROP |RE)INDEX (?!CONCURRENTLY)": "keeps writers out (see online.py)",
    r"(UPDATE|DELETE FROM) ": "locks rows of a large table in one long transaction",
    r"(LOCK TABLE|TRUNCATE|VACUUM FULL|CLUSTER) ": "keeps everybody out",
}

_WORKERS_ORDER = "0013"
"""A migration that takes two tables, in the order in which workers take them, too."""


def statements(step: ModuleType) -> list[str]:
    """The SQL of a migration, a line each."""
    written = io.StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with Operations.context(context):
        step.upgrade()
    found = (" ".join(part.split()) for part in written.getvalue().split(";"))
    return [one for one in found if one and one not in ("BEGIN", "COMMIT")]


def problems(step: ModuleType) -> list[str]:
    """What a migration must not do, and the reasons that it gives and does not need."""
    said: dict[str, str] = dict(getattr(step, "REASONS", {}))
    unused = set(said)
    found = []
    made = statements(step)
    new = {match[1] for one in made if (match := re.match(r"CREATE TABLE (\w+)", one))}
    for one in made:
        table = re.search(r"(?:ALTER TABLE|UPDATE|DELETE FROM| ON) (\w+)", one)
        if table and table[1] in new:
            continue
        reasons = [start for start in said if one.startswith(start)]
        unused.difference_update(reasons)
        if not reasons:
            found += [f"{one}: {why}" for rule, why in RULES.items() if re.match(rule, one)]
    altered = {match[1] for one in made if (match := re.match(r"ALTER TABLE (\w+)", one))} - new
    if len(altered) > 1 and getattr(step, "revision", "") != _WORKERS_ORDER:
        found.append(f"{', '.join(sorted(altered))}: holds one while it waits for the other")
    if any("CONCURRENTLY" in one for one in made):
        others = [one for one in made if not re.search(r"CONCURRENTLY|SET lock_timeout", one)]
        found += [f"{one}: stands beside an index that cannot be undone with it" for one in others]
    return found + [f"a reason for {start!r}, which it does not do" for start in sorted(unused)]


STEPS = list(ScriptDirectory.from_config(_config()).walk_revisions())


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.revision)
def test_a_migration_keeps_nobody_out_and_takes_nothing_away(step: object) -> None:
    assert problems(step.module) == []  # type: ignore[attr-defined]


def test_there_is_one_line_of_migrations_and_the_oldest_version_is_on_it() -> None:
    assert len(ScriptDirectory.from_config(_config()).get_heads()) == 1
    numbers = [step.revision for step in STEPS]
    # they are compared as texts
    assert numbers == sorted(numbers, reverse=True)
    assert len({len(number) for number in numbers}) == 1
    assert OLDEST_REVISION in numbers


BAD = {
    "drops a column": lambda: op.drop_column("verdicts", "timings"),
    "drops a table": lambda: op.drop_table("verdicts"),
    "renames a column": lambda: op.alter_column("verdicts", "author", new_column_name="by"),
    "renames a table": lambda: op.rename_table("verdicts", "judgements"),
    "changes a type": lambda: op.alter_column("verdicts", "author", type_=sa.Text()),
    "asks for a value": lambda: op.alter_column("verdicts", "author", nullable=False),
    "adds a column that must be filled": lambda: op.add_column(
        "verdicts", sa.Column("more", sa.Text(), nullable=False)
    ),
    "fills a column with something new for each row": lambda: op.add_column(
        "verdicts", sa.Column("more", sa.Text(), server_default=sa.text("gen_random_uuid()"))
    ),
    "adds columns to two tables": lambda: (
        op.add_column("verdicts", sa.Column("more", sa.Text())),
        op.add_column("flags", sa.Column("more", sa.Text())),
    ),
    "makes an index": lambda: op.create_index("ix_more", "verdicts", ["author"]),
    "makes a unique index": lambda: op.create_index("ix_m", "verdicts", ["author"], unique=True),
    "drops an index": lambda: op.drop_index("ix_verdicts_created_at", "verdicts"),
    "adds a foreign key": lambda: op.create_foreign_key("fk", "outbox", "flags", ["id"], ["id"]),
    "adds a check": lambda: op.create_check_constraint("ck", "verdicts", "sarcasm >= 0"),
    "changes rows": lambda: op.execute("UPDATE verdicts SET author = NULL"),
    "deletes rows": lambda: op.execute("delete from outbox".upper()),
    "mixes": lambda: (
        op.add_column("verdicts", sa.Column("more", sa.Text())),
        online.create_index("ix_more", "verdicts", ["more"]),
    ),
}
GOOD = {
    "adds a column": lambda: op.add_column("verdicts", sa.Column("more", sa.Text())),
    "adds a column with a constant": lambda: op.add_column(
        "verdicts", sa.Column("more", sa.Integer(), nullable=False, server_default="0")
    ),
    "makes an index concurrently": lambda: online.create_index("ix", "verdicts", ["author"]),
    "drops an index concurrently": lambda: online.drop_index("ix", "verdicts"),
    "makes a table and its index": lambda: (
        op.create_table("more", sa.Column("id", sa.Integer())),
        op.create_index("ix_more", "more", ["id"]),
    ),
}


def made(upgrade: object) -> ModuleType:
    step = ModuleType("step")
    step.upgrade = upgrade  # type: ignore[attr-defined]
    return step


@pytest.mark.parametrize("what", BAD)
def test_what_a_migration_must_not_do_is_found(what: str) -> None:
    assert problems(made(BAD[what]))


@pytest.mark.parametrize("what", GOOD)
def test_what_a_migration_may_do_is_let_through(what: str) -> None:
    assert problems(made(GOOD[what])) == []


def test_a_reason_lets_one_statement_through_and_must_be_needed() -> None:
    step = made(BAD["drops an index"])
    step.REASONS = {"DROP INDEX ix_verdicts_created_at": "nothing reads it"}  # type: ignore[attr-defined]
    assert problems(step) == []
    step.REASONS["DROP TABLE flags"] = "nobody knows"  # type: ignore[attr-defined]
    assert problems(step) == ["a reason for 'DROP TABLE flags', which it does not do"]
