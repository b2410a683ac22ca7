"""The intake: bare post ids in Redis lists, and the chunks they are taken in hand as.

Keys, all below the prefix (`deadpan` by default):

    posts:high, posts, posts:low   lists of post ids, pushed by producers;
    `tasks.intake.chunks.split`
                                   says what else an entry may hold
    chunk:ID                       list of the entries of one chunk: h, n or l and a post id; its ID
                                   ends with when the first of each came, as in .n1767225600000
    chunks                         sorted set, chunk id -> when its lease runs out (server time, ms)
    chunk-owners                   hash, chunk id -> the task that holds it
    chunk-losses                   hash, chunk id -> how often its owner fell silent
    model-breaks                   hash, chunk id -> how many posts the model had judged when it
                                   first broke over it, and how often it was excused for that;
                                   and in the field `judged`, how many it has judged since there
                                   was an entry
    suspect                        the chunk of one post, lost twice, that is being tried now
    retries                        sorted set, entry -> when it is due (server time, ms)
    attempts                       hash, post id -> failed tries so far
    revisits                       sorted set, entry of a judged post -> when its missing pictures
                                   are looked for again (server time, ms)
    revisited                      hash, post id -> how often that was put there
    revisiting                     the chunk of such entries that was dispatched last
    traces                         hash, post id -> its trace id, while it is in hand or tried again
    workers                        hash, worker -> what it last said of itself (JSON)
    taken                          hash, h, n or l -> how many ids left that list
    arrivals                       list of samples, see `tasks.intake.arrivals`
    scaling                        what the autoscaler wants and why (JSON)
    spoilt                         list of messages that were none, see `tasks.intake.spoilt`
    backfills                      hash, name -> how far a backfill has come, see
    `tasks.intake.backfill`

Every move between them is one Lua script, so an id is always in exactly one place, and time is the
server's, so that a worker with a wrong clock holds no lease too long.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Literal, cast

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from deadpan.core.errors import (
    ConfigurationError,
    QueueRefused,
    QueueStateError,
    QueueUnavailable,
    QueueUnfit,
)
from deadpan.core.redis_url import RedisUrl, read
from deadpan.core.settings import load
from deadpan.core.trace import TraceContext
from tasks.intake.chunks import Chunk, Dispatched, Entry, Retry, revisit_of, traced_entry
from tasks.intake.post_ids import id_problem, printable
from tasks.intake.pushes import given, traced
from tasks.intake.redis_fitness import CLUSTER, REPLICA, is_replica, told, unfit, unwise

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")

WORKER_SILENT_SECONDS = 15.0
"""A worker that said nothing for so long is taken for gone in `deadpan status`."""

WORKER_FORGOTTEN_SECONDS = 3600.0
"""For so long after that it is known that there was one, which did not leave in order."""

REVISIT_SECONDS = (60.0, 300.0, 1800.0)
"""After so long each, missing pictures of a judged post are looked for again."""

_SCRIPTS = ("dispatch", "take", "renew", "release", "give_back", "hand_on", "sample", "push")
_PUSH_AT_ONCE = 5000

_REFUSALS = (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
)
_REFUSED = re.compile(r"DB index|NOAUTH|CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER")
"""What redis-py has no class of its own for."""
_CLUSTER_ANSWERS = (AskError, ClusterCrossSlotError, ClusterDownError, MovedError)
_OF_A_CLUSTER = re.compile(r"cluster mode|CROSSSLOT|hash to the same slot|MOVED")


def connect(redis_url: str) -> redis.Redis:
    """A client for Redis or Valkey that gives up on a silent server; connects on first use."""
    return _client(_url(redis_url))


class Intake:
    """The Redis side of Deadpan. Safe to use from several threads.

    Every method raises QueueUnavailable when Redis cannot be reached or refuses (QueueRefused, if
    waiting does not mend it), and QueueStateError when a key under the prefix holds something else
    than it should.
    """

    def __init__(
        self, client: redis.Redis, prefix: str = "deadpan", *, shown_url: str = ""
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.shown_url = shown_url
        folder = resources.files("tasks.intake") / "scripts"
        self._scripts: dict[str, Callable[..., Any]] = {
            name: client.register_script((folder / f"{name}.lua").read_text(encoding="utf-8"))
            for name in _SCRIPTS
        }

    @classmethod
    def at(cls, redis_url: str, prefix: str = "deadpan") -> Intake:
        """The intake of a Redis URL."""
        url = _url(redis_url)
        return cls(_client(url), prefix, shown_url=url.shown)

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def key(self, name: str) -> str:
        """A full Redis key."""
        return f"{self.prefix}:{name}"

    def list_key(self, priority: Priority) -> str:
        """The list that producers push ids of this priority onto."""
        return self.key("posts" if priority == "normal" else f"posts:{priority}")

    def enqueue(
        self,
        post_ids: Iterable[str],
        priority: Priority = "normal",
        *,
        trace: TraceContext | None = None,
    ) -> int:
        """Push post ids, in order.

        Args:
            trace: that all of these posts belong to; each gets its own, if left out.

        Returns:
            How many were pushed.

        Raises:
            ConfigurationError: an id that can be no post id, or an unknown priority; ids before
                a wrong one in the same 5,000 are not pushed.
        """
        if priority not in PRIORITIES:
            raise ConfigurationError(
                f"priority {priority!r} is unknown; use one of {', '.join(PRIORITIES)}"
            )
        pushed = 0
        for batch in _batches(post_ids, _PUSH_AT_ONCE):
            raw = [post_id.encode("utf-8", "surrogateescape") for post_id in batch]
            problems = [problem for problem in map(id_problem, raw) if problem]
            if problems:
                raise ConfigurationError(problems[:20])
            with traced(raw, priority, trace) as entries, self.answering():
                self.client.rpush(self.list_key(priority), *entries)
            pushed += len(raw)
        return pushed

    def dispatch(
        self,
        *,
        chunk_size: int,
        lease_seconds: float,
        free_slots: int = 1,
        untaken: Sequence[Dispatched] = (),
    ) -> Dispatched | None:
        """Take one chunk in hand, to be sent as a Celery message.

        Args:
            free_slots: chunks that the caller could begin now.
            untaken: chunks that the caller has sent before and not seen taken; each that is
                still waiting fills one of the free slots.

        Returns:
            A chunk, or None when nothing waits or no slot is free.
        """
        reply = self.run(
            "dispatch",
            [self.list_key(p) for p in PRIORITIES]
            + [
                self.key(name)
                for name in (
                    "chunks",
                    "chunk-owners",
                    "chunk-losses",
                    "retries",
                    "suspect",
                    "taken",
                    "arrivals",
                    "model-breaks",
                    "revisits",
                    "revisiting",
                )
            ],
            [
                self.key("chunk:"),
                uuid.uuid4().hex,
                chunk_size,
                _milliseconds(lease_seconds),
                free_slots,
                *(part for chunk in untaken for part in (chunk.chunk_id, chunk.due_ms)),
            ],
        )
        if not reply:
            return None
        return Dispatched(reply[0].decode(), int(reply[1]), reply[2].decode(), int(reply[3]))

    def take(self, chunk_id: str, *, owner: str, lease_seconds: float) -> Chunk | None:
        """Become the owner of a dispatched chunk.

        Returns:
            The chunk, or None when it is finished or somebody holds it: the message was a double.
        """
        reply = self.run(
            "take",
            [self.key(k) for k in ("chunks", "chunk-owners", "chunk-losses", "attempts")]
            + [self._chunk_key(chunk_id), self.key("traces")],
            [chunk_id, owner, _milliseconds(lease_seconds)],
        )
        if not reply:
            return None
        losses, entries, attempts, traces, now_ms = reply
        return Chunk(
            chunk_id,
            owner,
            int(losses),
            tuple(
                traced_entry(raw, int(tries), trace_id)
                for raw, tries, trace_id in zip(entries, attempts, traces, strict=True)
            ),
            _waited(chunk_id, int(now_ms)),
        )

    def renew(self, held: Iterable[Chunk], *, lease_seconds: float) -> set[str]:
        """Renew leases.

        Returns:
            Ids of the chunks that another worker has taken over.
        """
        pairs = [part for chunk in held for part in (chunk.id, chunk.owner)]
        if not pairs:
            return set()
        reply = self.run(
            "renew",
            [self.key("chunks"), self.key("chunk-owners")],
            [_milliseconds(lease_seconds), *pairs],
        )
        return {chunk_id.decode() for chunk_id in reply}

    def release(
        self,
        chunk: Chunk,
        *,
        retries: Sequence[Retry] = (),
        revisits: Iterable[Entry] = (),
        kept: Sequence[Entry] = (),
        through_model: int = 0,
    ) -> bool:
        """Let go of a chunk whose outcomes are committed, or of all but some of its entries.

        Args:
            retries: entries of the chunk to be tried again; all others are done.
            revisits: entries that are done, and whose missing pictures are to be looked for again.
            kept: entries that stay in hand.
            through_model: how many posts the model judged: that it did is held against a post that
                breaks it.

        Returns:
            False when another worker has taken the chunk over, which then sees to all of it.
        """
        again = {retry.entry.id_bytes for retry in retries}
        again |= {entry.id_bytes for entry in kept}
        done = [entry.id_bytes for entry in chunk.entries if entry.id_bytes not in again]
        revisit_entries = [revisit_of(entry) for entry in revisits]
        names = ("chunks", "chunk-owners", "chunk-losses", "attempts", "retries")
        more = ("suspect", "traces", "model-breaks", "revisits", "revisited")
        return bool(
            self.run(
                "release",
                [self.key(name) for name in names]
                + [self._chunk_key(chunk.id)]
                + [self.key(name) for name in more],
                [
                    chunk.id,
                    chunk.owner,
                    through_model,
                    len(retries),
                    len(revisit_entries),
                    len(kept),
                    len(REVISIT_SECONDS),
                    *map(_milliseconds, REVISIT_SECONDS),
                    *(
                        part
                        for retry in retries
                        for part in (
                            retry.entry.raw,
                            _milliseconds(retry.delay_seconds),
                            int(retry.counts),
                        )
                    ),
                    *revisit_entries,
                    *(entry.raw for entry in kept),
                    *done,
                ],
            )
        )

    def give_back(
        self,
        chunk: Chunk,
        *,
        delay_seconds: float,
        loss: bool = False,
        broke_model: bool = False,
        longest_delay_seconds: float = 0.0,
    ) -> bool:
        """Give a chunk back unfinished; any worker may have it after the delay.

        Args:
            loss: whether the chunk itself may be to blame, which counts towards halving it.
            broke_model: whether the model broke over it. Then whether that is a loss is decided
                there: a post alone has one only if the model has judged others since the first
                time, and until then the delay doubles.
            longest_delay_seconds: to which it doubles.
        """
        return bool(
            self.run(
                "give_back",
                [
                    self.key(k)
                    for k in (
                        "chunks",
                        "chunk-owners",
                        "chunk-losses",
                        "suspect",
                        "model-breaks",
                    )
                ]
                + [self._chunk_key(chunk.id)],
                [
                    chunk.id,
                    chunk.owner,
                    _milliseconds(delay_seconds),
                    int(loss),
                    int(broke_model),
                    _milliseconds(max(delay_seconds, longest_delay_seconds)),
                ],
            )
        )

    def hand_on(self, chunk_ids: Sequence[str]) -> int:
        """Let others have, at once, those of these chunks that nobody has taken.

        Returns:
            How many they were.
        """
        if not chunk_ids:
            return 0
        return int(
            self.run("hand_on", [self.key("chunks"), self.key("chunk-owners")], [*chunk_ids])
        )

    def waiting(self, queue: str) -> int:
        """How much waits to be taken in hand: post ids, and Celery messages in a queue."""
        with self.answering():
            pipe = self.client.pipeline(transaction=False)
            for key in (queue, *map(self.list_key, PRIORITIES)):
                pipe.llen(key)
            return sum(pipe.execute())

    def say(
        self,
        worker: str,
        *,
        ready: bool,
        model: str,
        awaiting: int = 0,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what a worker is, that it lives, and what it knows of the post source.

        Args:
            awaiting: posts of it that wait for pictures, out of every slot's way.
        """
        with self.answering():
            said = {"name": worker, "ready": ready, "model": model, "seen": self.now()}
            said["awaiting"] = awaiting
            if source is not None:
                said["source"] = source
            self.client.hset(self.key("workers"), worker, json.dumps(said))

    def leave(self, worker: str) -> None:
        """Take a worker that ends in order off the list."""
        with self.answering():
            self.client.hdel(self.key("workers"), worker)

    def status(self) -> dict[str, Any]:
        """What waits and who works: intake by priority, chunks, retries, posts that wait for
        pictures, workers."""
        with self.answering():
            # In one transaction, so that an id which moves meanwhile is counted once.
            pipe = self.client.pipeline()
            for priority in PRIORITIES:
                pipe.llen(self.list_key(priority))
            pipe.zcard(self.key("chunks"))
            pipe.zcard(self.key("retries"))
            pipe.hgetall(self.key("workers"))
            pipe.time()
            high, normal, low, chunks, retries, workers, now = pipe.execute()
        living, awaiting = self._living(workers, now[0])
        return {
            "intake": {"high": high, "normal": normal, "low": low},
            "chunks": chunks,
            "retries": retries,
            "awaiting": awaiting,
            "workers": living,
        }

    def heard(self) -> tuple[int, int]:
        """How many workers say that they live, and how many fell silent without leaving."""
        with self.answering():
            workers = cast("dict[bytes, bytes]", self.client.hgetall(self.key("workers")))
            living = len(self._living(workers, self.now())[0])
        return living, len(workers) - living

    def revisits(self) -> int:
        """How many judged posts wait to be looked at again for pictures that were missing."""
        with self.answering():
            return int(self.client.zcard(self.key("revisits")))

    def sample(self, *, ready: int, apart_seconds: float, read: bool) -> list[Any]:
        """Note what has arrived by now; `tasks.intake.arrivals` makes sense of the reply.

        Args:
            ready: workers that are ready now.
            apart_seconds: nothing is noted when the last sample is younger.
            read: whether the reply holds the samples.
        """
        reply: list[Any] = self.run(
            "sample",
            [self.list_key(p) for p in PRIORITIES]
            + [self.key(k) for k in ("taken", "arrivals", "chunks", "retries")],
            [self.key("chunk:"), _milliseconds(apart_seconds), ready, int(read)],
        )
        return reply

    def put(self, name: str, value: str, *, seconds: int) -> None:
        """Keep a value under the prefix for so many seconds."""
        with self.answering():
            self.client.set(self.key(name), value, ex=seconds)

    def get(self, name: str) -> bytes | None:
        """What `put` kept, or None."""
        with self.answering():
            return cast("bytes | None", self.client.get(self.key(name)))

    def seconds_left(self, name: str) -> float:
        """For how long what `put` kept is still there; 0 when it is gone."""
        with self.answering():
            return max(0.0, self.client.pttl(self.key(name)) / 1000)

    def ping(self) -> None:
        """Raise QueueUnavailable unless Redis answers."""
        with self.answering():
            self.client.ping()

    def look(self) -> list[str]:
        """Ask Redis what it is.

        Returns:
            How it may lose what it accepted, one sentence each.

        Raises:
            QueueUnfit: it can hold no intake, whatever is asked of it.
        """
        with self.answering():
            self.client.ping()
            said = told(self.client)
        if why := unfit(said):
            raise QueueUnfit(f"Redis at {self.shown_url} {why}")
        if is_replica(said):
            raise QueueUnavailable(f"Redis at {self.shown_url} {REPLICA}")
        return [f"Redis at {self.shown_url} {warning}" for warning in unwise(said)]

    def now(self) -> int:
        """The server's clock, in seconds: those of the workers may differ."""
        with self.answering():
            return self.client.time()[0]

    def _living(self, workers: dict[bytes, bytes], now: int) -> tuple[list[dict[str, Any]], int]:
        """Workers that said something lately, and how many of their posts wait for pictures."""
        living, awaiting = [], 0
        for name, said in sorted(workers.items()):
            try:
                told = json.loads(said)
                silent_seconds = now - float(told["seen"])
            except (ValueError, KeyError, TypeError):
                raise QueueStateError(
                    f"Redis key {self.key('workers')} holds {printable(said)} for worker "
                    f"{printable(name)}, which Deadpan did not write; delete the key"
                ) from None
            if silent_seconds < WORKER_SILENT_SECONDS:
                known = {key: told[key] for key in ("name", "ready", "model")}
                if "source" in told:  # a worker of the version before says nothing of it
                    known["source"] = told["source"]
                living.append(known)
                awaiting += int(told.get("awaiting", 0))
            elif silent_seconds > WORKER_FORGOTTEN_SECONDS:
                self.client.hdel(self.key("workers"), name.decode(errors="replace"))
        return living, awaiting

    def _chunk_key(self, chunk_id: str) -> str:
        return self.key(f"chunk:{chunk_id}")

    def run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        """Run one of the scripts of `tasks/scripts`."""
        with self.answering():
            return self._scripts[script](keys=keys, args=args)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While it is open, redis-py's errors become ours."""
        try:
            yield
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise QueueStateError(
                    f"a Redis key under {self.prefix}: has another type than Deadpan needs "
                    f"({error}); give Deadpan a prefix of its own (DEADPAN_PREFIX)"
                ) from error
            if isinstance(error, _CLUSTER_ANSWERS) or _OF_A_CLUSTER.search(str(error)):
                raise QueueUnfit(f"Redis at {self.shown_url} {CLUSTER} ({error})") from error
            kind = QueueRefused if _is_refused(error) else QueueUnavailable
            remedy = "; name a database that it has, such as 0" if "DB index" in str(error) else ""
            raise kind(f"Redis at {self.shown_url} refused: {error}{remedy}") from error
        except RedisError as error:
            if _is_refused(error):
                raise QueueRefused(
                    f"Redis at {self.shown_url} refused: {error}; see that DEADPAN_REDIS_URL is "
                    "right"
                ) from error
            raise QueueUnavailable(
                f"cannot reach Redis at {self.shown_url} ({error}); "
                "start it or set DEADPAN_REDIS_URL"
            ) from error


def enqueue(
    post_ids: Iterable[str] | str,
    *,
    priority: Priority = "normal",
    redis_url: str | None = None,
    prefix: str | None = None,
    traceparent: str | None = None,
) -> int:
    """Push post ids onto the intake, as `RPUSH deadpan:posts ID` does.

    In a program that records spans by OpenTelemetry, the push is one of them, and the posts go on
    in its trace.

    Args:
        post_ids: one id or many; pushed in order.
        priority: high, normal or low.
        redis_url, prefix: as in DEADPAN_REDIS_URL and DEADPAN_PREFIX, which are read when left out.
        traceparent: the trace that these posts belong to, as W3C Trace Context writes it.

    Returns:
        How many ids were pushed.

    Raises:
        ConfigurationError: an id that can be no post id, a wrong setting, or no `traceparent`.
        QueueUnavailable: Redis cannot be reached; nothing of the last 5,000 ids was pushed.
    """
    settings = load() if redis_url is None or prefix is None else None
    if settings is not None:
        redis_url = redis_url or settings.redis_url.get_secret_value()
        prefix = prefix or settings.prefix
    trace = given(traceparent, "traceparent")
    intake = Intake.at(cast(str, redis_url), cast(str, prefix))
    try:
        ids = [post_ids] if isinstance(post_ids, str) else post_ids
        return intake.enqueue(ids, priority, trace=trace)
    finally:
        intake.close()


def _url(redis_url: str) -> RedisUrl:
    try:
        return read(redis_url)
    except ValueError as error:
        raise ConfigurationError(f"the Redis URL cannot be used: {error}") from None


def _client(url: RedisUrl) -> redis.Redis:
    return url.client(
        socket_timeout=10.0,
        socket_connect_timeout=5.0,
        socket_keepalive=True,
        health_check_interval=30,
    )


def _is_refused(error: RedisError) -> bool:
    return isinstance(error, _REFUSALS) or _REFUSED.search(str(error)) is not None


def _waited(chunk_id: str, now_ms: int) -> dict[bytes, float]:
    """For how long posts had waited, by the priority's letter: dispatch.lua ends ids with it."""
    came = (part for part in chunk_id.split(".")[1:] if part[1:].isdecimal())
    return {part[:1].encode(): max(0.0, (now_ms - int(part[1:])) / 1000) for part in came}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
