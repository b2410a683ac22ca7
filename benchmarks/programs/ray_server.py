"""Ray Serve with `@serve.batch`: ids come over HTTP, one a request.

python -m benchmarks.programs.ray_server PORT FOLDER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import ray
from ray import serve
from starlette.requests import Request

BATCH = 64
WAIT_SECONDS = 0.05


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=4 * BATCH,
    # Ray would let the model have one thread for each whole CPU it is given
    ray_actor_options={"num_cpus": os.cpu_count()},
)
class Moderator:
    """One replica with the warm model; two batches at once: one in the model, one being fetched."""

    def __init__(self) -> None:
        from benchmarks.programs.peer_work import Judge

        self._judge = Judge()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_SECONDS, max_concurrent_batches=2)
    async def judge(self, post_ids: list[str]) -> list[str]:
        """Judge what was collected."""
        await asyncio.to_thread(self._judge, post_ids)
        return post_ids

    async def __call__(self, request: Request) -> str:
        """Judge the post of one request."""
        answer: str = await self.judge(request.query_params["id"])
        return answer


def main() -> None:
    """Serve until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ray.init(
        include_dashboard=False,
        num_cpus=2 * (os.cpu_count() or 1),
        object_store_memory=100 * 2**20,
        _temp_dir=sys.argv[2],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Moderator.bind())  # type: ignore[attr-defined]
    print("serving", flush=True)
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
