"""What became of every post, asked of the database, of Redis and of the evidence store.

A check takes the stage, after its faults, and the ids that Redis accepted; it gives what is wrong,
in words, and nothing when all is well. A new promise gets a check of its own in `CHECKS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

from sqlalchemy import Table, func, select

from deadpan.core.errors import EvidenceUnavailable
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.tables import dead_letters, evidence, flags, verdicts
from tests.chaos.stage import Stage
from tests.harness import outcomes

Check = Callable[[Stage, Collection[str]], list[str]]
SHOWN = 10


def audit(stage: Stage, accepted: Collection[str]) -> dict[str, list[str]]:
    """What is wrong, by the name of the check that found it."""
    return {name: check(stage, accepted) for name, check in CHECKS.items()}


def lost(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Posts that ended as nothing."""
    found = outcomes(stage.database, accepted)
    return [f"{post_id} has no outcome" for post_id in accepted if post_id not in found]


def otherwise(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Posts that ended as something else than they should."""
    found = outcomes(stage.database, accepted)
    return [
        f"{post_id} ended as {found[post_id]} instead of {stage.plan.fate(post_id)}"
        for post_id in accepted
        if post_id in found and found[post_id] != stage.plan.fate(post_id)
    ]


def doubled(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Posts with two verdicts, flags or dead letters: no content changed, and nobody decided."""
    return [
        f"{post_id} has {count} {table.name}"
        for table in (verdicts, flags, dead_letters)
        for post_id, count in _several(stage, table)
    ]


def flagged(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Verdicts that a rule named and that opened no flag, and flags of no such verdict."""
    with transaction(stage.database, read_only=True) as connection:
        rows = connection.execute(select(verdicts.c.post_id, verdicts.c.evidence)).all()
        opened = set(connection.execute(select(flags.c.post_id)).scalars())
    named = {post_id for post_id, kept in rows if kept}
    assert named, "no post was flagged, so nothing is shown"
    return [f"{post_id} is either flagged or has evidence, not both" for post_id in named ^ opened]


def left_behind(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Keys of posts and chunks that should have left Redis."""
    found = [key.decode() for key in stage.intake.client.scan_iter("deadpan:*", count=1000)]
    kept = tuple(
        f"deadpan:{name}" for name in ("workers", "celery", "features", "taken", "arrivals")
    )
    return [f"Redis still has {key}" for key in found if not key.startswith(kept)]


def unreadable(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Evidence that is named and cannot be shown."""
    store = EvidenceStore(str(stage.evidence))
    with transaction(stage.database, read_only=True) as connection:
        names = connection.execute(select(evidence.c.sha256)).scalars().all()
    problems = []
    for name in names:
        try:
            store.get(name)
        except EvidenceUnavailable as error:
            problems.append(str(error))
    return problems


def told(stage: Stage, accepted: Collection[str]) -> list[str]:
    """Verdicts of which the platform was not told, or of which it was told two things.

    The same event may arrive twice, with the same id and the same content.
    """
    with transaction(stage.database, read_only=True) as connection:
        written = set(connection.execute(select(verdicts.c.id)).scalars())
    contents: dict[str, set[str]] = defaultdict(set)
    events: dict[int, set[str]] = defaultdict(set)
    for request in list(stage.receiver.accepted):
        contents[request.id].add(request.body.decode())
        events[int(request.told["data"]["verdict_id"])].add(request.id)
    return [
        *(f"verdict {number} was never told" for number in written - events.keys()),
        *(f"there is no verdict {number}, but it was told" for number in events.keys() - written),
        *(f"verdict {number} was told as {ids}" for number, ids in events.items() if len(ids) > 1),
        *(f"{name} came with other content" for name, all_ in contents.items() if len(all_) > 1),
        *(f"{request.id} was signed wrongly" for request in stage.receiver.refused),
    ]


CHECKS: dict[str, Check] = {
    "lost": lost,
    "ended otherwise": otherwise,
    "doubled": doubled,
    "flags that do not fit": flagged,
    "left behind in Redis": left_behind,
    "evidence that cannot be read": unreadable,
    "callbacks that do not fit": told,
}


def _several(stage: Stage, table: Table) -> list[tuple[str, int]]:
    number = func.count()
    statement = select(table.c.post_id, number).group_by(table.c.post_id).having(number > 1)
    with transaction(stage.database, read_only=True) as connection:
        return [(post_id, count) for post_id, count in connection.execute(statement)]
