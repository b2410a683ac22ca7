"""`deadpan autoscale`: looks at the intake, says how many workers are wanted, and runs them."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Gauge

from deadpan.core import logs
from deadpan.core.errors import ConfigurationError, DeadpanError
from deadpan.core.settings import Settings, load
from deadpan.core.waiting import Waiting
from tasks.intake.arrivals import STALE_SECONDS, Signal, publish_scaling, read_scaling, read_signal
from tasks.intake.intake import Intake
from worker import checks
from worker.fleet.local import LocalFleet, Place, places
from worker.fleet.scaling import Goals, Scale, State, rescale
from worker.health import HealthServer
from worker.local.processes import Interrupts
from worker.sampler import show

log = structlog.get_logger(__name__)

WORKERS_DESIRED = Gauge("deadpan_workers_desired", "Workers that the latency goal needs.")

LOOK_SECONDS = 1.0
REPORT_SECONDS = 30.0
"""A line is printed whenever a number of workers changes, and at least so often."""


def goals_of(settings: Settings, *, ceiling: int) -> Goals:
    """What the settings want.

    Raises:
        ConfigurationError: settings that contradict each other.
    """
    return Goals(
        latency_seconds=settings.latency_goal_seconds,
        low_latency_seconds=settings.low_latency_goal_seconds,
        floor=settings.workers_min,
        ceiling=ceiling,
        worker_posts_per_second=settings.worker_posts_per_second,
        start_seconds=settings.worker_start_seconds,
        idle_seconds=settings.worker_idle_seconds,
    )


class Scaler:
    """Looks, works out the scale and says so; `told` may be read from other threads."""

    def __init__(self, intake: Intake, goals: Goals) -> None:
        self._intake = intake
        self._goals = goals
        self._state: State | None = None
        self._told: dict[str, Any] = {}
        self._looked = -STALE_SECONDS
        self._why_not = "nothing was looked at yet"
        self._lock = threading.Lock()

    def look(self, fleet: LocalFleet | None = None) -> tuple[Scale, int]:
        """One look, published on Redis and as metrics.

        Returns:
            The scale that is wanted, and how many ready workers do not belong to the fleet.

        Raises:
            QueueUnavailable, QueueStateError.
        """
        try:
            names = [w["name"] for w in self._intake.status()["workers"] if w["ready"]]
            own = fleet.names if fleet else set()
            others = sum(name.rpartition("@")[0] not in own for name in names)
            signal = read_signal(self._intake, ready=len(names))
            if self._state is None:
                # Go on where another one ended, with what it remembers.
                before = read_scaling(self._intake)
                self._state = State.from_json(before["state"] if before else None)
            scale = rescale(signal, self._goals, self._state, now=time.time())
            self._state = scale.state
            told = describe(signal, scale)
            publish_scaling(self._intake, {**told, "state": scale.state.to_json()})
        except DeadpanError as error:
            with self._lock:
                self._why_not = str(error)
            raise
        show(signal)
        WORKERS_DESIRED.set(scale.desired)
        with self._lock:
            self._told, self._looked, self._why_not = told, time.monotonic(), ""
        return scale, others

    def not_ready(self) -> str | None:
        """Why no number can be served, or None."""
        with self._lock:
            if time.monotonic() - self._looked < STALE_SECONDS:
                return None
            return self._why_not or "the last look is too long ago"

    def page(self) -> tuple[int, Mapping[str, Any]]:
        """/api/v1/scaling: 503 rather than a number that is out of date."""
        if why := self.not_ready():
            return 503, {"error": why}
        with self._lock:
            return 200, dict(self._told)


def describe(signal: Signal, scale: Scale) -> dict[str, Any]:
    """A scale and what it rests on, as JSON."""
    drain, pace = signal.drain_seconds, scale.worker_posts_per_second
    return {
        "desired": scale.desired,
        "why": scale.why,
        "ready": signal.ready,
        "waiting": {priority: waiting.posts for priority, waiting in signal.waiting.items()},
        "oldest_age_seconds": round(signal.oldest_age_seconds, 1),
        "unfinished": signal.unfinished,
        "posts_per_second": round(signal.posts_per_second, 1),
        "needed_posts_per_second": round(scale.posts_per_second, 1),
        "worker_posts_per_second": round(pace, 2),
        "drain_seconds": None if drain is None else round(drain, 1),
    }


def run_autoscale(*, folder: Path, no_workers: bool, as_json: bool) -> None:
    """Run until Ctrl-C or SIGTERM; workers are drained then.

    Raises:
        ConfigurationError: with all that is wrong with the settings, before anything starts.
        QueueRefused: Redis will not have us; one that is away is waited for.
        DeadpanError: a worker cannot work as configured.
    """
    settings = load()
    problems = [] if no_workers else checks.configuration_problems(settings)
    room = _room(settings, no_workers=no_workers)
    try:
        goals = goals_of(settings, ceiling=room if isinstance(room, int) else len(room))
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    logs.configure(settings.log_level, settings.log_format)
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    scaler, waiting = Scaler(intake, goals), Waiting()
    server = HealthServer(
        settings.metrics_host,
        settings.metrics_port,
        lambda: waiting.why or scaler.not_ready(),
        process="autoscale",
        pages={"/api/v1/scaling": scaler.page},
    )
    fleet = None
    if not isinstance(room, int):
        fleet = LocalFleet(
            room, os.environ, metrics_port=settings.metrics_port, folder=folder.resolve()
        )
    server.start()
    with Interrupts():
        try:
            waiting.until_answers(lambda: checks.require_redis(intake))
            _run(scaler, fleet, as_json=as_json)
        except KeyboardInterrupt:
            pass
        finally:
            with Interrupts.deferred():
                if fleet:
                    fleet.close()
                server.stop()
                intake.close()


def _room(settings: Settings, *, no_workers: bool) -> int | list[Place]:
    """Places for workers here, or how many there may be elsewhere.

    Raises:
        ConfigurationError: nothing says how many there may be elsewhere.
    """
    if not no_workers:
        device = "cpu" if settings.engine == "openvino" else settings.device
        return places(settings.workers_max, device=device)
    if settings.workers_max == 0:
        raise ConfigurationError(
            "DEADPAN_WORKERS_MAX is 0, which means as many as this machine has room for; "
            "--no-workers needs to know how many there may be elsewhere"
        )
    return settings.workers_max


def _run(scaler: Scaler, fleet: LocalFleet | None, *, as_json: bool) -> None:
    away = False
    wanted = others = 0
    last: tuple[int, ...] = ()
    reported = -REPORT_SECONDS
    while True:
        try:
            scale, others = scaler.look(fleet)
            wanted = scale.desired
            if away:
                log.info("autoscaling resumed")
            away = False
        except DeadpanError as error:
            if not away:
                log.warning("cannot scale; the workers keep running", error=str(error))
            away = True
        if fleet:
            # What was started by others, or is left of an autoscaler that was killed, counts.
            fleet.apply(wanted - others if not away else fleet.running)
        numbers = (wanted, others, *((fleet.running, fleet.draining) if fleet else ()))
        if not away and (numbers != last or time.monotonic() - reported >= REPORT_SECONDS):
            last, reported = numbers, time.monotonic()
            _report(scaler, fleet, others, as_json=as_json)
        time.sleep(LOOK_SECONDS)


def _report(scaler: Scaler, fleet: LocalFleet | None, others: int, *, as_json: bool) -> None:
    _, told = scaler.page()
    own = {"running": fleet.running, "draining": fleet.draining} if fleet else {}
    if as_json:
        sys.stdout.write(json.dumps({"at": time.time(), **own, "others": others, **told}) + "\n")
    else:
        waiting = sum(told["waiting"].values())
        here = f", {own['running']} run here, {own['draining']} drain" if own else ""
        sys.stdout.write(
            f"{time.strftime('%H:%M:%S')}  {told['desired']} wanted{here}, {told['ready']} ready; "
            f"{waiting} posts wait, the oldest for {told['oldest_age_seconds']:.0f} s "
            f"({told['why']})\n"
        )
    sys.stdout.flush()
