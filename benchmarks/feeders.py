"""How ids reach a peer: as Celery messages, or as HTTP requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import redis
from celery import Celery


class CeleryFeeder:
    """Sends one message a post.

    Args:
        broker_url: Redis.
    """

    task = "peer.judge"
    queue = "peer"

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("driver", broker=broker_url)
        self._redis = redis.Redis.from_url(broker_url)

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """Write the messages; what is returned hands them over, all at once.

        Writing them costs a producer a millisecond each, on cores that the measured worker needs.
        A real producer has cores of its own, so this is done before the clock starts.
        """
        staged = f"{self.queue}-staged"
        for post_id in post_ids:
            self._app.send_task(self.task, [post_id], queue=staged, ignore_result=True)
        return lambda: self._hand_over(staged)

    def push(self, post_id: str) -> None:
        """Send one message."""
        self._app.send_task(self.task, [post_id], queue=self.queue, ignore_result=True)

    def close(self) -> None:
        """Give back connections."""
        self._app.close()
        self._redis.close()

    def _hand_over(self, staged: str) -> None:
        self._redis.rename(staged, self.queue)


class HttpFeeder:
    """Sends one request a post over connections that stay open, from a thread of its own.

    Args:
        port: on loopback.
        request: makes the whole HTTP request for a post id.
        connections: requests at once; should be a few batches.

    Attributes:
        problems: answers other than 200.
    """

    def __init__(
        self, port: int, request: Callable[[str], bytes], *, connections: int = 160
    ) -> None:
        self._port = port
        self._request = request
        self._connections = connections
        self.problems: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._thread = threading.Thread(target=self._loop.run_forever, name="feeder", daemon=True)
        self._thread.start()
        self._tasks = [self._submit(self._connection()) for _ in range(connections)]

    def push_all(self, post_ids: Sequence[str]) -> Callable[[], None]:
        """Make ready to send; what is returned begins."""
        return lambda: self._put(post_ids)

    def push(self, post_id: str) -> None:
        """Send one."""
        self._put([post_id])

    def close(self) -> None:
        """Hang up."""

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._submit(cancel()).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, None]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _put(self, post_ids: Sequence[str]) -> None:
        def put() -> None:
            for post_id in post_ids:
                self._queue.put_nowait(post_id)

        self._loop.call_soon_threadsafe(put)

    async def _connection(self) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            post_id = await self._queue.get()
            try:
                if streams is None or streams[1].is_closing() or streams[0].at_eof():
                    streams = await asyncio.open_connection("127.0.0.1", self._port)
                status = await self._ask(*streams, self._request(post_id))
                if status != b"200":
                    self.problems.append(f"{post_id}: answered {status.decode()}")
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.problems.append(f"{post_id}: {type(error).__name__} {error}")
                streams = None

    @staticmethod
    async def _ask(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> bytes:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        headers = dict(
            line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:] if b":" in line
        )
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            size = 1
            while size:
                size = int(await reader.readuntil(b"\r\n"), 16)
                await reader.readexactly(size + 2)
        elif b"content-length" in headers:
            await reader.readexactly(int(headers[b"content-length"]))
        else:
            raise ValueError(f"an answer of unknown length: {head!r}")
        return head.split(b" ", 2)[1]
