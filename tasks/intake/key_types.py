"""Finds Redis keys that somebody else wrote something into: a string where a list should be."""

from __future__ import annotations

from typing import Final

from redis.exceptions import ResponseError

from tasks.intake.intake import PRIORITIES, Intake

_OWN: Final = {
    "chunks": "sorted set",
    "retries": "sorted set",
    "chunk-owners": "hash",
    "chunk-losses": "hash",
    "model-breaks": "hash",
    "attempts": "hash",
    "revisits": "sorted set",
    "revisited": "hash",
    "traces": "hash",
    "workers": "hash",
    "taken": "hash",
    "arrivals": "list",
    "spoilt": "list",
}
# Of the commands that `docs/security.md` lets a worker have; TYPE is none of them.
_ASK: Final = {"list": "LLEN", "hash": "HEXISTS", "sorted set": "ZCARD", "set": "SISMEMBER"}
_NEEDS_MEMBER: Final = ("hash", "set")


def expected(intake: Intake, queue: str) -> dict[str, str]:
    """The type of each key that a worker cannot work without.

    Args:
        queue: Celery's list.
    """
    return {
        queue: "list",
        "unacked": "hash",
        "unacked_index": "sorted set",
        f"_kombu.binding.{queue}": "set",
        **{intake.list_key(priority): "list" for priority in PRIORITIES},
        **{intake.key(name): kind for name, kind in _OWN.items()},
    }


def wrong_key(intake: Intake, queue: str) -> str | None:
    """Which key holds something else than it should, in words; None when none does.

    Raises:
        QueueUnavailable: Redis cannot be reached, or refuses.
    """
    keys = expected(intake, queue)
    with intake.answering():
        pipe = intake.client.pipeline(transaction=False)
        for key, kind in keys.items():
            member = ("",) if kind in _NEEDS_MEMBER else ()
            pipe.execute_command(_ASK[kind], key, *member)  # type: ignore[no-untyped-call]
        replies = pipe.execute(raise_on_error=False)
        for (key, kind), reply in zip(keys.items(), replies, strict=True):
            if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
                return (
                    f"Redis key {key} is no {kind}: something else than Deadpan wrote it; "
                    f"put it aside with `redis-cli RENAME {key} {key}.aside`"
                )
            if isinstance(reply, Exception):
                raise reply
    return None
