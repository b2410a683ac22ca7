"""The keys of the intake in Redis, all below a prefix (`deadpan` by default).

Every move between them is one Lua script, so an id is always in exactly one place, and time is the
server's, so that a worker with a wrong clock holds no lease too long.
"""

from __future__ import annotations

from typing import Final, Literal

from redis.exceptions import ResponseError

from tasks.intake.connection import IntakeRedis

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")

POSTS: Final = {"high": "posts:high", "normal": "posts", "low": "posts:low"}
"""Lists of post ids, by priority: producers push onto them. `tasks.intake.chunks.split` says what
else an entry may hold."""

NEEDED: Final = {
    "chunks": "sorted set",  # chunk id -> when its lease runs out (server time, ms)
    "chunk-owners": "hash",  # chunk id -> the task that holds it
    "chunk-losses": "hash",  # chunk id -> how often its owner fell silent
    # chunk id -> how many posts the model had judged when it first broke over it, and how often it
    # was excused for that; and in `judged`, how many it has judged since there was an entry
    "model-breaks": "hash",
    "retries": "sorted set",  # entry -> when it is due (server time, ms)
    "attempts": "hash",  # post id -> failed tries so far
    # entry of a judged post -> when its missing pictures are looked for again (server time, ms)
    "revisits": "sorted set",
    "revisited": "hash",  # post id -> how often it was put there
    "traces": "hash",  # post id -> its trace id, while it is in hand or tried again
    "workers": "hash",  # worker -> what it last said of itself (JSON)
    "taken": "hash",  # h, n or l -> how many ids left that list
    "arrivals": "list",  # samples, see `tasks.intake.arrivals`
    "spoilt": "list",  # messages that were not ours, see `tasks.intake.spoilt`
}
"""What a worker cannot work without, and of which type it is. Besides these there are

    chunk:ID        list of the entries of one chunk: h, n or l and a post id; its ID ends with when
                    the first of each came, as in .n1767225600000
    suspect         the chunk of one post, lost twice, that is being tried now
    revisiting      the chunk of `revisits` that was dispatched last
    scaling         what the autoscaler wants and why (JSON), see `tasks.intake.arrivals`
    backfills       hash, name -> how far a backfill has come, see `tasks.intake.backfill`
    model-broken    see `tasks.watches.model_breaks`
"""

# Of the commands that `docs/security.md` lets a worker have; TYPE is none of them.
_ASK: Final = {"list": "LLEN", "hash": "HEXISTS", "sorted set": "ZCARD", "set": "SISMEMBER"}
_NEEDS_MEMBER: Final = ("hash", "set")


def expected(redis: IntakeRedis, queue: str) -> dict[str, str]:
    """The type of each key that a worker cannot work without.

    Args:
        queue: Celery's list.
    """
    return {
        queue: "list",
        "unacked": "hash",
        "unacked_index": "sorted set",
        f"_kombu.binding.{queue}": "set",
        **{redis.key(name): "list" for name in POSTS.values()},
        **{redis.key(name): kind for name, kind in NEEDED.items()},
    }


def wrong_key(redis: IntakeRedis, queue: str) -> str | None:
    """Which key holds something else than it should, in words; None when none does.

    Raises:
        QueueUnavailable: Redis cannot be reached, or refuses.
    """
    keys = expected(redis, queue)
    with redis.answering():
        pipe = redis.client.pipeline(transaction=False)
        for key, kind in keys.items():
            member = ("",) if kind in _NEEDS_MEMBER else ()
            pipe.execute_command(_ASK[kind], key, *member)  # type: ignore[no-untyped-call]
        replies = pipe.execute(raise_on_error=False)
        for (key, kind), reply in zip(keys.items(), replies, strict=True):
            if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
                return (
                    f"Redis key {key} is not a {kind}: something other than Deadpan wrote to it; "
                    f"move it out of the way with `redis-cli RENAME {key} {key}.aside`"
                )
            if isinstance(reply, Exception):
                raise reply
    return None
