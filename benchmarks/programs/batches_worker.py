"""Celery with celery-batches: one message a post, the worker makes batches of them."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from celery_batches import Batches

from benchmarks.programs.peer_work import Judge

BATCH = 64
WAIT_SECONDS = 0.05

app = Celery("peer", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_default_queue="peer",
    # two batches on their way: one in the model, one being fetched; enough messages for both
    worker_concurrency=2,
    worker_prefetch_multiplier=2 * BATCH,
    worker_send_task_events=False,
)
_judge: list[Judge] = []


@signals.worker_init.connect
def _warm(**_: Any) -> None:
    _judge.append(Judge())


@app.task(name="peer.judge", base=Batches, flush_every=BATCH, flush_interval=WAIT_SECONDS)
def judge(requests: list[Any]) -> None:
    """Judge what was collected."""
    _judge[0]([request.args[0] for request in requests])
