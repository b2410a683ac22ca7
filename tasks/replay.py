"""Dead letters go back onto the intake."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from deadpan.errors import ConfigurationError
from storage import erasure, queries
from tasks.intake import Intake
from tasks.post_ids import id_problem


def replay(connection: Connection, ids: Sequence[int], intake: Intake) -> list[str]:
    """Push the posts of dead letters again, then mark them as replayed.

    In this order, and in the caller's transaction, so that nothing is lost in between: should the
    commit fail, the post is judged again and its dead letter stays, which does no harm.

    Returns:
        The post ids that were pushed.

    Raises:
        ConfigurationError: an id that no waiting dead letter has, or whose post id can never be
            one; then nothing is pushed.
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
                "push the right id instead"
            )
        elif letter.post_id in erasure.erased(connection, [letter.post_id]):
            problems.append(f"dead letter {letter_id}: its post was erased, and stays so")
        elif problem := id_problem(letter.post_id.encode()):
            problems.append(f"dead letter {letter_id}: {problem}")
        else:
            post_ids.append(letter.post_id)
    if problems:
        raise ConfigurationError(problems)
    intake.enqueue(post_ids)
    queries.mark_replayed(connection, list(ids))
    return post_ids
