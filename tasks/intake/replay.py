"""Dead letters go back onto the intake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from deadpan.core.errors import ConfigurationError
from storage.base.database import transaction
from storage.judging import dead_letters, queries
from storage.judging.dead_letters import Wanted
from storage.keeping import erasure
from storage.people import audit
from storage.tables import DeadLetter
from tasks.intake.intake import Intake
from tasks.intake.post_ids import id_problem

AT_ONCE = 1000
"""Dead letters that one transaction pushes and marks; others of the database wait for no more."""

NO_USABLE_ID = "no usable post id"
ERASED = "post was erased"


@dataclass(slots=True)
class Replayed:
    """What became of many dead letters."""

    by_stage: dict[str, int] = field(default_factory=dict)  # how many matched, by where they failed
    pushed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # how many were not pushed, by why

    @property
    def matched(self) -> int:
        """How many were meant."""
        return sum(self.by_stage.values())


def replay(connection: Connection, ids: Sequence[int], intake: Intake) -> list[str]:
    """Push the posts of dead letters again, then mark them as replayed.

    In this order, and in the caller's transaction, so that nothing is lost in between: should the
    commit fail, the post is judged again and its dead letter stays, which does no harm.

    Raises:
        ConfigurationError: dead letters that cannot be replayed; then nothing is pushed.
    """
    problems, post_ids = [], []
    for letter_id in ids:
        letter = queries.dead_letter(connection, letter_id)
        if letter is None:
            problems.append(
                f"dead letter {letter_id} does not exist; see `deadpan dead-letters list`"
            )
        elif letter.replayed_at is not None:
            problems.append(
                f"dead letter {letter_id} was replayed at {letter.replayed_at:%F %T} UTC"
            )
        elif letter.stage == "intake":
            problems.append(
                f"dead letter {letter_id} has no usable post id ({letter.error}); "
                "push the correct id instead"
            )
        elif letter.post_id in erasure.erased(connection, [letter.post_id]):
            problems.append(f"dead letter {letter_id}: its post was erased; it stays erased")
        elif problem := id_problem(letter.post_id.encode()):
            problems.append(f"dead letter {letter_id}: {problem}")
        else:
            post_ids.append(letter.post_id)
    if problems:
        raise ConfigurationError(problems)
    intake.enqueue(post_ids)
    queries.mark_replayed(connection, list(ids))
    return post_ids


def replay_all(
    database: Engine,
    intake: Intake,
    wanted: Wanted,
    *,
    actor: str,
    dry_run: bool = False,
    said: Callable[[int, int], object] = lambda done, total: None,
) -> Replayed:
    """Push the posts of all matching dead letters, a part at a time, and mark them.

    Each is held while it is pushed, so that of two who do this at once one pushes it. Those that
    come meanwhile (a post may fail again at once) are left for the next time.

    Args:
        actor: for the audit log.
        dry_run: only count.
        said: is told how many were looked at, and of how many.
    """
    with transaction(database, read_only=True) as connection:
        up_to_id = dead_letters.last_id(connection)
        replayed = Replayed(dead_letters.by_stage(connection, wanted, up_to_id=up_to_id))
    after_id = looked_at = 0
    while after_id < up_to_id:
        with transaction(database, read_only=dry_run) as connection:
            part = dead_letters.hold(
                connection,
                wanted,
                after_id=after_id,
                up_to_id=up_to_id,
                limit=AT_ONCE,
                locked=not dry_run,
            )
            good = _usable(connection, part, replayed.left_out)
            if good and not dry_run:
                intake.enqueue([letter.post_id for letter in good])
                for letter in queries.mark_replayed(connection, [letter.id for letter in good]):
                    audit.write(connection, actor, "dead-letter.replay", f"dead letter {letter.id}")
        replayed.pushed += 0 if dry_run else len(good)
        looked_at += len(part)
        said(looked_at, replayed.matched)
        if len(part) < AT_ONCE:
            break
        after_id = part[-1].id
    return replayed


def _usable(
    connection: Connection, part: Sequence[DeadLetter], left_out: Counter[str]
) -> list[DeadLetter]:
    erased = erasure.erased(connection, [letter.post_id for letter in part])
    good = []
    for letter in part:
        if letter.stage == "intake" or id_problem(letter.post_id.encode()):
            left_out[NO_USABLE_ID] += 1
        elif letter.post_id in erased:
            left_out[ERASED] += 1
        else:
            good.append(letter)
    return good
