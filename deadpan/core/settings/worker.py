"""How a worker goes through posts, and how many workers there are."""

from __future__ import annotations

from pydantic import Field

from deadpan.core.settings.kinds import Group


class Worker(Group):
    """The policy, chunks, leases and retries."""

    policy: str = ""
    """A policy file in TOML, for workers and the console; empty uses the policy that ships with
    Deadpan."""
    audit_share: float = Field(0.0, ge=0.0, le=1.0)
    """Share of unflagged posts that moderators look at all the same, blind, to find what the model
    misses; up to 20 times as many near a rule's threshold. Workers then need DEADPAN_SECRET_KEY. 0
    draws none: it is work, so somebody has to want it."""
    chunk_size: int = Field(64, ge=4, le=1024)
    """Most posts in one chunk; chunks are smaller if they would take more than 5 seconds."""
    slots: int = Field(3, ge=1, le=64)
    """Chunks that one worker handles at once."""
    lease_seconds: float = Field(30.0, ge=1.0, le=3600.0)
    """A chunk whose worker has been silent this long is dispatched again."""
    grace_seconds: float = Field(8.0, ge=0.0, le=3600.0)
    """How long a worker that is told to stop may finish its chunks before it returns them
    unfinished; keep it below the stop timeout of whatever runs it (`docker stop`: 10 seconds)."""
    max_attempts: int = Field(5, ge=1, le=100)
    """Tries of one post before it becomes a dead letter."""
    retry_base_seconds: float = Field(2.0, gt=0, le=600.0)
    """Delay after the first failed try; it doubles each time, up to 10 minutes."""


class Autoscaling(Group):
    """How many workers a backlog calls for."""

    latency_goal_seconds: float = Field(30.0, gt=0, le=86_400.0)
    """Posts of high and normal priority should reach a worker within this time; it decides how many
    workers run."""
    low_latency_goal_seconds: float = Field(6 * 3600.0, gt=0, le=30 * 86_400.0)
    """The same for posts of low priority."""
    workers_min: int = Field(1, ge=0, le=10_000)
    """Fewest workers; 0 allows none while nothing waits."""
    workers_max: int = Field(0, ge=0, le=10_000)
    """Most workers; 0 means one per GPU, or one per two cores."""
    worker_posts_per_second: float = Field(200.0, gt=0)
    """Throughput of one worker, as `make bench` measures it; used until a backlog has shown the
    real figure."""
    worker_start_seconds: float = Field(15.0, gt=0, le=3600.0)
    """Time from the start of a worker until it is ready."""
    worker_idle_seconds: float = Field(300.0, ge=0, le=86_400.0)
    """With DEADPAN_WORKERS_MIN 0, the last worker stops after this long without a post."""
