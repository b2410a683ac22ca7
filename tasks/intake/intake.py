"""The workers' side of the intake: chunks that are dispatched, taken in hand, released.

Which keys there are is said in `tasks.intake.keys`. A chunk is under a lease from the moment it is
dispatched; whoever falls silent loses it to another worker.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from deadpan.core.errors import QueueStateError
from tasks.intake.chunks import Chunk, Dispatched, Entry, Retry, revisit_of, traced_entry
from tasks.intake.keys import PRIORITIES, Priority
from tasks.intake.post_ids import printable
from tasks.intake.producer import Producer

WORKER_SILENT_SECONDS = 15.0
"""A worker that said nothing for so long is taken for gone in `deadpan status`."""

WORKER_FORGOTTEN_SECONDS = 3600.0
"""For so long after that it is known that there was one, which did not leave in order."""

REVISIT_SECONDS = (60.0, 300.0, 1800.0)
"""After so long each, missing pictures of a judged post are looked for again."""


class Intake(Producer):
    """The Redis side of Deadpan; raises as `IntakeRedis`. Safe to use from several threads."""

    def dispatch(
        self,
        *,
        chunk_size: int,
        lease_seconds: float,
        free_slots: int = 1,
        untaken: Sequence[Dispatched] = (),
    ) -> Dispatched | None:
        """Move waiting ids into a chunk, to be sent as a Celery message.

        Args:
            free_slots: chunks that the caller could begin now.
            untaken: chunks that the caller has sent before and not seen taken; each that is
                still waiting fills one of the free slots.

        Returns:
            A chunk, or None when nothing waits or no slot is free.
        """
        reply = self.run(
            "dispatch",
            [
                *map(self.list_key, PRIORITIES),
                *self._keys("chunks", "chunk-owners", "chunk-losses", "retries", "suspect"),
                *self._keys("taken", "arrivals", "model-breaks", "revisits", "revisiting"),
            ],
            [
                self.key("chunk:"),
                uuid.uuid4().hex,
                chunk_size,
                milliseconds(lease_seconds),
                free_slots,
                *(part for chunk in untaken for part in (chunk.chunk_id, chunk.due_ms)),
            ],
        )
        if not reply:
            return None
        return Dispatched(reply[0].decode(), int(reply[1]), reply[2].decode(), int(reply[3]))

    def await_push(self, priority: Priority, *, seconds: float) -> bool:
        """Wait until a post id waits in this list, at most so many seconds; tells whether one does.

        The first one is moved to where it stands already: of all commands that wait for a list,
        this alone takes nothing out of it.
        """
        key = self.list_key(priority)
        with self.answering():
            return self.client.blmove(key, key, seconds, "LEFT", "LEFT") is not None  # type: ignore[arg-type]

    def take(self, chunk_id: str, *, owner: str, lease_seconds: float) -> Chunk | None:
        """Become the owner of a dispatched chunk.

        Returns:
            The chunk, or None when it is finished or somebody holds it: the message was a double.
        """
        reply = self.run(
            "take",
            [
                *self._keys("chunks", "chunk-owners", "chunk-losses", "attempts"),
                *self._keys(f"chunk:{chunk_id}", "traces"),
            ],
            [chunk_id, owner, milliseconds(lease_seconds)],
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
        keys = self._keys("chunks", "chunk-owners")
        lost = self.run("renew", keys, [milliseconds(lease_seconds), *pairs])
        return {chunk_id.decode() for chunk_id in lost}

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
        again = {entry.id_bytes for entry in (*(retry.entry for retry in retries), *kept)}
        done = [entry.id_bytes for entry in chunk.entries if entry.id_bytes not in again]
        revisit_entries = [revisit_of(entry) for entry in revisits]
        retry_parts = [
            (retry.entry.raw, milliseconds(retry.delay_seconds), int(retry.counts))
            for retry in retries
        ]
        return bool(
            self.run(
                "release",
                [
                    *self._keys("chunks", "chunk-owners", "chunk-losses", "attempts", "retries"),
                    *self._keys(f"chunk:{chunk.id}", "suspect", "traces", "model-breaks"),
                    *self._keys("revisits", "revisited"),
                ],
                [
                    chunk.id,
                    chunk.owner,
                    through_model,
                    len(retries),
                    len(revisit_entries),
                    len(kept),
                    len(REVISIT_SECONDS),
                    *map(milliseconds, REVISIT_SECONDS),
                    *(part for parts in retry_parts for part in parts),
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
                    *self._keys("chunks", "chunk-owners", "chunk-losses", "suspect"),
                    *self._keys("model-breaks", f"chunk:{chunk.id}"),
                ],
                [
                    chunk.id,
                    chunk.owner,
                    milliseconds(delay_seconds),
                    int(loss),
                    int(broke_model),
                    milliseconds(max(delay_seconds, longest_delay_seconds)),
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
        return int(self.run("hand_on", self._keys("chunks", "chunk-owners"), [*chunk_ids]))

    def waiting(self, queue: str) -> int:
        """How much waits to be taken in hand: post ids, and Celery messages in a queue."""
        with self.answering():
            pipe = self.client.pipeline(transaction=False)
            for key in (queue, *map(self.list_key, PRIORITIES)):
                pipe.llen(key)
            return sum(pipe.execute())

    def revisits(self) -> int:
        """How many judged posts wait to be looked at again for pictures that were missing."""
        with self.answering():
            return int(self.client.zcard(self.key("revisits")))

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
        said = {"name": worker, "ready": ready, "model": model, "awaiting": awaiting}
        if source is not None:
            said["source"] = source
        with self.answering():
            said["seen"] = self.now()
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
            *lengths, chunks, retries, workers, now = pipe.execute()
        living, awaiting = self._living(workers, now[0])
        return {
            "intake": dict(zip(PRIORITIES, lengths, strict=True)),
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

    def _keys(self, *names: str) -> list[str]:
        return [self.key(name) for name in names]


def milliseconds(seconds: float) -> int:
    """As Lua scripts take times."""
    return round(seconds * 1000)


def _waited(chunk_id: str, now_ms: int) -> dict[bytes, float]:
    """For how long posts had waited, by the priority's letter: dispatch.lua ends ids with it."""
    came = (part for part in chunk_id.split(".")[1:] if part[1:].isdecimal())
    return {part[:1].encode(): max(0.0, (now_ms - int(part[1:])) / 1000) for part in came}
