"""What one worker process holds: the warm model, the source, the database, and who watches them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import asdict

import structlog

from deadpan.core.errors import ConfigurationError, DeadpanError, ModelBroken
from deadpan.core.settings import Settings
from deadpan.core.waiting import Waiting, ended_by_signals
from models.serving.classifier import Classifier
from sources.net.throttle import Throttle
from sources.open import open_source
from storage.base.database import connect, transaction
from storage.judging import policies, queries
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import require_schema
from tasks.challenger.challenger import Challenger
from tasks.intake.intake import Intake
from tasks.intake.keys import wrong_key
from tasks.intake.leases import LeaseKeeper
from tasks.intake.spoilt import Spoilt
from tasks.moderate.explainer import Explainer
from tasks.moderate.feature_store import RedisFeatures
from tasks.moderate.judge import Judge
from tasks.moderate.runner import ChunkRunner
from tasks.policy.reason_codes import policy_of, policy_text
from tasks.policy.rules import Policy, parse_policy
from tasks.watches import metrics, model_breaks
from tasks.watches.model_watch import error_text
from tasks.watches.pace import Pace
from tasks.watches.source_watch import SourceWatch
from tasks.watches.stores import show_room
from tasks.watches.tries import Tries
from worker import checks
from worker.bell import Bell
from worker.dispatcher import Dispatcher
from worker.ending import STUCK_EXIT_CODE, Ending
from worker.health import HealthServer
from worker.model import (
    leave_challenger_out,
    load_challenger,
    load_classifier,
    require_allowed,
)
from worker.sampler import Sampler
from worker.watchdog import Watchdog

log = structlog.get_logger(__name__)

SOURCE_REQUESTS = 8
"""Requests of the source at once, at most, and as many downloads of images."""

WATCH_SECONDS = 2.0
"""How often a worker asks whether it can still do its job."""


class Runtime:
    """Everything that the moderate task needs, built once; see `start`."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        """Check, wait for Redis and the database, connect and load.

        Raises:
            ConfigurationError, DeadpanError: with all that keeps this worker from its job.
        """
        self.name = name
        self._settings = settings
        self._dispatcher: Dispatcher | None = None
        self._closing = threading.Event()
        self._waiting = Waiting()
        self._not_ready: str | None = "the model is not loaded"
        self._broken: Callable[[], str | None] = lambda: None
        self._breaking = threading.Lock()
        self._health = HealthServer(
            settings.metrics_host, settings.metrics_port, self.not_ready, process="worker"
        )
        self._health.start()
        problems = checks.configuration_problems(settings)
        if problems:
            self._health.stop()
            raise ConfigurationError(problems)
        text = policy_text(settings.policy)
        policy = parse_policy(policy_of(text))
        self._connect()
        with transaction(self._database) as connection:
            policies.started(connection, policy.version, text)
        show_room(self._database, self._evidence)
        self.spoilt = Spoilt(self._intake, worker=name)
        self._pace = Pace(settings.chunk_size)
        self._challenger = self._make_challenger(policy) if settings.challenger else None
        tries = Tries(settings.max_attempts, settings.retry_base_seconds)
        judge = Judge(
            source=self._source,
            classifier=self._classifier,
            policy=policy,
            database=self._database,
            evidence=self._evidence,
            tries=tries,
            explain=settings.explain == "on",
            remembered=settings.remembered_posts,
            throttle=self._throttle,
            looks=checks.looks_of(settings),
        )
        self.runner = ChunkRunner(
            judge,
            intake=self._intake,
            leases=self._leases,
            database=self._database,
            tries=tries,
            report=settings.callback_verdicts if settings.callback_url else "none",
            pace=self._pace,
            challenger=self._challenger,
            on_broken=self._end_broken,
            slots=settings.slots,
        )
        self._explainer = self._make_explainer() if settings.explain == "on" else None
        metrics.AWAITING_PICTURES.set_function(lambda: self.runner.awaiting)
        metrics.CLOSED_IMAGE_HOSTS.set_function(self._source.closed_image_hosts)
        self._broken = lambda: self.runner.broken
        _show(self.runner.source)
        info = self._classifier.info
        metrics.MODEL_INFO.info(
            {
                "name": info.name,
                "version": info.version,
                "engine": info.engine,
                "device": info.device,
            }
        )
        log.info(
            "model is warm",
            model=info.version,
            device=info.device,
            engine=info.engine,
            precision=info.precision,
            policy=policy.version,
        )
        for warning in checks.device_warnings(settings) + checks.policy_warnings(settings):
            log.warning(warning)
        self._leases.start()
        self.ending = Ending(
            grace_seconds=settings.grace_seconds,
            stop_taking=self.stop_dispatching,
            give_back=self._give_back,
        )
        self.ending.start()
        self._sampler = Sampler(self._intake)
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._not_ready = "it is not connected to Redis yet"

    def _connect(self) -> None:
        """Open the database, Redis, the source and the model; wait for what is away."""
        settings = self._settings
        self._database = connect(settings.database_url.get_secret_value())
        self._intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
        with ended_by_signals():
            self._waiting.until_answers(lambda: require_schema(self._database))
            self._waiting.until_answers(lambda: checks.require_redis(self._intake))
        self._throttle = Throttle(SOURCE_REQUESTS, settings.chunk_size)
        self._source = open_source(
            settings.source,
            threads=SOURCE_REQUESTS,
            throttle=self._throttle,
            **checks.source_arguments(settings),
        )
        self._features: RedisFeatures | None = None
        if settings.feature_cache_redis:
            self._features = RedisFeatures.at(
                settings.redis_url.get_secret_value(),
                settings.prefix,
                seconds=settings.feature_cache_redis,
                max_bytes=settings.feature_cache_redis_bytes,
            )
        self._classifier = self._warm()
        self._bell = Bell(self._intake)
        self._leases = LeaseKeeper(
            self._intake, lease_seconds=settings.lease_seconds, on_room=self._bell.ring
        )
        self._evidence = EvidenceStore(settings.evidence_url)

    def _warm(self) -> Classifier:
        """The model, once it has judged a post that is known to be good."""
        classifier = load_classifier(
            self._settings,
            feature_cache_bytes=self._settings.feature_cache_bytes,
            feature_store=self._features,
        )
        try:
            classifier.warm()
        except Exception as error:
            why = f"the model fails before it got any post: {error_text(error)}"
            model_breaks.note(self._intake, worker=self.name, why=why)
            raise ModelBroken(why, first=False) from error
        return classifier

    def _make_explainer(self) -> Explainer:
        return Explainer(
            self._classifier,
            database=self._database,
            evidence=self._evidence,
            leases=self._leases,
            holder=self.name,
            may_work=lambda: not (self._broken() or self._classifier.fault),
            models=lambda: {str(each["model"]) for each in self._intake.status()["workers"]},
        )

    def _make_challenger(self, policy: Policy) -> Challenger:
        return Challenger(
            load=self._load_challenger,
            policy=policy,
            database=self._database,
            share=self._settings.challenger_share,
            remembered=self._settings.remembered_posts,
            on_device_lost=self._end_for_challenger,
        )

    def _load_challenger(self) -> Classifier | None:
        """See `load_challenger`; one that took the device from the champion is left out."""
        require_allowed(self._intake, self._settings)
        return load_challenger(self._settings, self._classifier)

    def not_ready(self) -> str | None:
        """Why this worker cannot do its job, or None when it can."""
        return self._waiting.why or self._broken() or self._not_ready

    def dispatch(self, send: Callable[[str], object]) -> None:
        """Begin to take posts in hand.

        Args:
            send: sends a chunk id as a Celery message.
        """
        self._dispatcher = Dispatcher(
            self._intake,
            self._leases,
            send,
            lambda chunk_id: self.runner.run(chunk_id, owner=f"{self.name}/dispatcher/{chunk_id}"),
            source=self.runner.source,
            bell=self._bell,
            slots=self._settings.slots,
            pace=self._pace,
            lease_seconds=self._settings.lease_seconds,
        )
        self._dispatcher.start()
        if self._challenger is not None:
            self._challenger.start()
        if self._explainer is not None:
            self._explainer.start()
        self._sampler.start()
        self._watcher.start()

    def stop_dispatching(self) -> None:
        """Take nothing more in hand; chunks in hand go on."""
        self._closing.set()
        self._set_ready("the worker is stopping")
        if self._explainer is not None:
            self._explainer.stop()
        self._sampler.stop()
        if self._dispatcher:
            self._dispatcher.stop(patience_seconds=1.0)

    def _give_back(self) -> None:
        try:
            count = self._leases.give_back_all()
            if count:
                log.warning("chunks given back unfinished", chunks=count)
            self._hand_on()
        except DeadpanError as error:
            log.warning("chunks not given back; their leases will run out", error=str(error))

    def _hand_on(self) -> None:
        """What was sent and not begun, and this worker's place on the list."""
        if self._watcher.is_alive():
            self._watcher.join(WATCH_SECONDS)  # or it would put this worker on the list again
        if self._dispatcher:
            self._dispatcher.hand_on()
        self._intake.leave(self.name)

    def close(self) -> None:
        """Let go of everything; to be called when no chunk is in hand."""
        self.stop_dispatching()
        if self._challenger is not None:
            self._challenger.stop()
        self.runner.close()
        self._leases.stop()
        try:
            self._hand_on()
        except DeadpanError as error:
            log.warning("worker not taken off the list", error=str(error))
        self._source.close()
        self._database.dispose()
        self._bell.close()
        self._intake.close()
        if self._features is not None:
            self._features.close()
        self._health.stop()

    def _watch(self) -> None:
        """Ready only while Redis and the database answer; back by itself when they return."""
        watchdog = Watchdog(self._leases, slots=self._settings.slots)
        while not self._closing.is_set():
            problem = self._problem()
            if not self._closing.is_set():
                problem = self._say(problem)
                self._set_ready(problem)
                self._mend(watchdog, ready=problem is None)
            self._closing.wait(WATCH_SECONDS)

    def _problem(self) -> str | None:
        fault = self._classifier.fault
        if fault is not None:
            # Explaining may have been what lost it, and perhaps nothing comes to be judged.
            self._end_broken(f"the device failed: {fault}")
        if broken := self._broken() or fault:
            return broken
        try:
            wrong = wrong_key(self._intake, f"{self._settings.prefix}:celery")
            queries.ping(self._database)
        except DeadpanError as error:
            return str(error)
        self.spoilt.flush()
        return wrong or self.runner.trouble()

    def _mend(self, watchdog: Watchdog, *, ready: bool) -> None:
        """End a worker that is up and does nothing, so that whoever started it starts it again."""
        waiting = 0
        if ready and self.runner.source.hold_seconds() <= 0:
            try:
                waiting = self._intake.waiting(f"{self._settings.prefix}:celery")
            except DeadpanError:
                ready = False
        stuck = watchdog.stuck(waiting=waiting if ready else 0)
        if self._dispatcher and not self._dispatcher.alive and not self._closing.is_set():
            stuck = "the dispatcher ended"
        if stuck:
            log.error("worker does nothing; it ends, to be started again", why=stuck)
            self.ending.ask(now=True, exit_code=STUCK_EXIT_CODE)

    def _end_broken(self, why: str) -> None:
        """End, to be started again: nothing mends a broken model in the process that has it."""
        if not self._breaking.acquire(blocking=False):
            return
        self._set_ready(why)
        log.error("the model is broken; the worker ends, to be started again", why=why)
        model_breaks.note(self._intake, worker=self.name, why=why)
        self.ending.ask(now=True, exit_code=STUCK_EXIT_CODE)

    def _end_for_challenger(self, why: str) -> None:
        """Where the challenger lost the device, the champion has lost it too: begin without it."""
        if self._classifier.info.device == "cpu" or self._breaking.locked():
            return
        leave_challenger_out(self._intake, self._settings, why)
        self._end_broken(f"the challenger broke the device: {why}")

    def _say(self, problem: str | None) -> str | None:
        """Also finds out whether Redis takes writes: a full one, or a replica, answers pings."""
        try:
            self._intake.say(
                self.name,
                ready=problem is None,
                model=self._classifier.info.version,
                source=asdict(self.runner.source.state),
                awaiting=self.runner.awaiting,
            )
        except DeadpanError as error:
            return problem or str(error)
        return problem

    def _set_ready(self, problem: str | None) -> None:
        if problem != self._not_ready:
            if problem:
                log.warning("not ready", why=problem)
            else:
                log.info("ready", worker=self.name)
        self._not_ready = problem
        metrics.WORKER_READY.set(problem is None)


def _show(source: SourceWatch) -> None:
    """Have metrics look at the source whenever they are asked for."""
    metrics.SOURCE_PAUSED.set_function(lambda: source.state.paused_seconds > 0)
    metrics.SOURCE_SILENT.set_function(lambda: source.state.silent_seconds)
    metrics.SOURCE_AT_ONCE.set_function(lambda: source.state.requests_at_once)
    metrics.SOURCE_PER_SECOND.set_function(lambda: source.state.requests_per_second or math.inf)


_current: Runtime | None = None


def start(settings: Settings, *, name: str) -> Runtime:
    """Build this process's runtime."""
    global _current
    _current = Runtime(settings, name=name)
    return _current


def current() -> Runtime:
    """This process's runtime."""
    if _current is None:
        raise DeadpanError("no runtime in this process; start a worker with `deadpan worker`")
    return _current
