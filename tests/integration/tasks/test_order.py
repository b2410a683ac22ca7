"""The learned order on the real databases: learnt, placed by, measured, switched off."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Engine, func, select, text

from storage import tables
from storage.base.database import transaction
from storage.flags import claims, decisions, placing, worklist
from storage.flags.decisions import Said
from storage.flags.worklist import Filter
from storage.people.moderators import Moderator
from storage.reviews import known_answers
from tasks.order.chore import Ordering, OrderKeeper
from tests.console_data import flag, moderator
from tests.order_data import NOON

REMOVE, APPROVE = Said("remove", reason_code="harassment"), Said("approve")
DECISIONS = 240


def _decide_many(database: Engine) -> Moderator:
    """Decided flags, of which the sarcastic ones were removed."""
    chance = np.random.default_rng(0)
    with transaction(database) as connection:
        ann = moderator(connection, "ann")
        for table in (tables.verdicts, tables.flags):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    for n in range(DECISIONS):
        sarcasm = float(chance.random())
        number = flag(
            database, f"old {n}", sarcasm=sarcasm, now=NOON + timedelta(minutes=n), text="a text"
        )
        with transaction(database) as connection:
            decisions.decide(
                connection,
                number,
                ann,
                REMOVE if sarcasm > 0.7 else APPROVE,
                now=NOON + timedelta(minutes=n + 30),
            )
    return ann


def _turn(keeper: OrderKeeper, database: Engine, now: datetime) -> None:
    """Let it learn and place what waits."""
    keeper.turn(database, now=now)
    until = time.monotonic() + 60
    while keeper._learning is not None and time.monotonic() < until:
        time.sleep(0.05)
        keeper.turn(database, now=now)
    while keeper.turn(database, now=now):
        pass


def _waiting(database: Engine) -> list[str]:
    with transaction(database, read_only=True) as connection:
        first = worklist.page(connection, Filter(queue="negative"), limit=2)
        rest = worklist.page(
            connection, Filter(queue="negative"), limit=50, after=first[-1].position
        )
    return [each.post_id for each in first + rest]


def test_the_queue_learns_what_is_removed_and_puts_it_first(database: Engine) -> None:
    ann = _decide_many(database)
    later = NOON + timedelta(days=2)
    urgent = flag(database, "urgent", priority=90, sarcasm=0.01, now=later)
    for n, sarcasm in enumerate((0.02, 0.05, 0.98, 0.99)):
        flag(database, f"new {n}", sarcasm=sarcasm, now=later + timedelta(minutes=n))
    flag(database, "long ago", sarcasm=0.01, now=later - timedelta(hours=25))
    by_age = ["urgent", "long ago", "new 0", "new 1", "new 2", "new 3"]
    assert _waiting(database) == by_age

    keeper = OrderKeeper(Ordering(random_share=0))
    _turn(keeper, database, later)
    with transaction(database, read_only=True) as connection:
        order = placing.order_in_use(connection)
    assert order is not None
    assert order.decisions == DECISIONS
    assert "of the removals in the first tenth of the work" in order.why
    found = _waiting(database)
    assert found[:2] == ["urgent", "long ago"]  # the priority first, and nothing starves
    assert set(found[2:4]) == {"new 2", "new 3"}
    with transaction(database) as connection:
        assert claims.claim_next(connection, ann, claim_seconds=60, queue="negative") == urgent
        assert worklist.one(connection, urgent).placement["order"] == order.id  # type: ignore[index]

    # Judged again, it is placed by what is known of it now.
    flag(database, "new 3", content="b", sarcasm=0.01, now=later)
    _turn(keeper, database, later)
    assert _waiting(database)[-1] == "new 3" or _waiting(database).index("new 3") > 2

    off = OrderKeeper(Ordering(on=False))
    _turn(off, database, later)
    assert _waiting(database) == by_age
    for each in (keeper, off):
        each.close()


def test_nothing_is_learnt_from_few_decisions_or_from_secrets(database: Engine) -> None:
    keeper = OrderKeeper(Ordering())
    _turn(keeper, database, NOON)
    with transaction(database) as connection:
        assert placing.last_tried(connection) is None
        ann, eve = moderator(connection, "ann"), moderator(connection, "eve", "lead")
    numbers = [flag(database, f"post {n}", now=NOON) for n in range(3)]
    second_looks = decisions.Sampling(1.0, "key")
    with transaction(database) as connection:
        decisions.decide(connection, numbers[0], ann, REMOVE)
        decisions.decide(connection, numbers[1], ann, REMOVE)
        known_answers.mark(connection, numbers[1], "remove", eve)
        decisions.decide(connection, numbers[2], ann, REMOVE, second_looks=second_looks)
        learnt_from = placing.decided(connection, limit=10)
    assert [each.id for each in learnt_from] == [numbers[0]]
    keeper.close()


def test_the_next_flag_is_read_off_an_index(database: Engine) -> None:
    """Neither the list nor `n` sorts anything, in whatever order flags are."""
    is_sqlite = database.dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    place = (
        "SELECT id FROM flags WHERE state = 'open'{} "
        "ORDER BY priority DESC, coalesce(rank_at, opened_at), id LIMIT 1"
    )
    indexes = {
        "": "ix_flags_place",
        " AND queue = 'negative'": "ix_flags_queue_place",
        " AND language = 'de'": "ix_flags_language_place",
    }
    with transaction(database) as connection:
        if not is_sqlite:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        for condition, index in indexes.items():
            plan = str(connection.execute(text(explain + place.format(condition))).all())
            # On a table without rows PostgreSQL finds one of these indexes as good as another.
            assert (f"{index} " if is_sqlite else "_place on flags") in plan
            assert "TEMP B-TREE" not in plan
            assert "Sort" not in plan
