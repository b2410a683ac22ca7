"""`deadpan status`: backlog, results and workers; once, as JSON, or live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json
from deadpan.commands.services import opened_database, opened_intake
from deadpan.core.errors import ConfigurationError, DeadpanError
from deadpan.core.logs import shown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlalchemy import Engine

    from storage.judging.outbox import Backlog
    from tasks.intake.arrivals import Signal
    from tasks.intake.backfill import Underway
    from tasks.intake.intake import Intake

_NARROW = 14
"""Width of the names at the left."""

QUIET_SECONDS = 10.0
"""A running backfill pushes more often than this, unless it has a very low rate."""


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep it up to date in the terminal, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, help="With --watch, seconds between updates.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show the backlog, what became of posts, and the workers."""
    if watch and as_json:
        raise ConfigurationError("--watch and --json exclude each other; give one of them")
    if watch and not sys.stdout.isatty():
        raise ConfigurationError(
            "--watch needs a terminal, but standard output is not one; programs can run "
            "`deadpan status --json` repeatedly"
        )
    with opened_intake() as intake, opened_database(migrated=False) as database:
        if watch:
            _watch(intake, database, interval)
            return
        look = Snapshot(intake, database)
    if as_json:
        print_json(look.told)
    else:
        for name, text in look.lines():
            typer.echo(f"{name:<{_NARROW}}{text}")


class Snapshot:
    """What Redis and the database hold now.

    Attributes:
        told: as `--json` prints it.

    Raises:
        QueueUnavailable, QueueStateError, StorageError.
    """

    def __init__(self, intake: Intake, database: Engine) -> None:
        from storage.base.database import transaction
        from storage.judging import outbox, queries
        from storage.migrations.schema import require_schema
        from tasks.intake.arrivals import read_scaling, read_signal
        from tasks.intake.backfill import underway
        from tasks.intake.spoilt import count
        from tasks.watches import model_breaks

        waiting = intake.status()
        ready = sum(bool(worker["ready"]) for worker in waiting["workers"])
        self.signal: Signal = read_signal(intake, ready=ready)
        self.scaling = read_scaling(intake)
        self.backfills = underway(intake)
        self.broken = model_breaks.last(intake)
        require_schema(database)
        with transaction(database, read_only=True) as connection:
            written = asdict(queries.counts(connection))
            self.untold: Backlog = outbox.backlog(connection)
        drain = self.signal.drain_seconds
        self.told: dict[str, Any] = {
            **waiting,
            "revisits": intake.revisits(),
            "oldest_age_seconds": round(self.signal.oldest_age_seconds, 1),
            "posts_per_second": round(self.signal.posts_per_second, 1),
            "drain_seconds": None if drain is None else round(drain, 1),
            "backfills": [asdict(backfill) for backfill in self.backfills],
            "model_broken": self.broken,
            "workers_desired": self.scaling and self.scaling["desired"],
            **written,
            "callbacks": {"pending": self.untold.pending, "parked": self.untold.parked},
            "spoilt_messages": count(intake),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names, each with its value in words."""
        told, signal = self.told, self.signal
        oldest = signal.oldest_age_seconds
        age = f"; oldest {oldest:.0f} s" if oldest else ""
        yield "intake", ", ".join(f"{n} {p}" for p, n in told["intake"].items()) + age
        if any(told["intake"].values()):
            drain = signal.drain_seconds
            left = "growing" if drain is None else f"empty in {drain:.0f} s"
            yield "pace", f"{signal.posts_per_second:.1f} posts a second; {left}"
        yield "chunks", f"{told['chunks']} in hand, {told['retries']} posts to retry"
        yield from self._common()
        if self.scaling:
            yield "wanted", f"{self.scaling['desired']} workers, {self.scaling['why']}"
        for worker in told["workers"]:
            yield "worker", _worker(worker)
        if not told["workers"]:
            yield "worker", "none; start one with `deadpan worker`"

    def _common(self, *, callbacks_age: bool = False) -> Iterator[tuple[str, str]]:
        told = self.told
        if told["awaiting"] or told["revisits"]:
            waiting = f"{told['awaiting']} posts wait for slow hosts"
            yield "pictures", f"{waiting}, {told['revisits']} will be revisited"
        for backfill in self.backfills:
            yield "backfill", _backfill(backfill)
        yield "verdicts", f"{told['verdicts']}"
        yield "flags", ", ".join(f"{n} {s}" for s, n in told["flags"].items()) or "none"
        yield "gone", f"{told['gone']}"
        yield "dead letters", f"{told['dead_letters']}"
        age = self.untold.oldest_age_seconds if callbacks_age else None
        oldest = f", oldest {span(age)}" if age else ""
        yield "callbacks", f"{self.untold.pending} pending, {self.untold.parked} parked{oldest}"
        if told["spoilt_messages"]:
            yield "put aside", f"{told['spoilt_messages']} unreadable messages; see the runbook"
        if self.broken is not None:
            ago, worker = span(self.broken["seconds_ago"]), shown(self.broken["worker"])
            yield "model broken", f"{ago} ago in {worker}: {shown(self.broken['why'])}"

    def picture(self) -> RenderableType:
        """The same, as `--watch` shows it."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        told, signal = self.told, self.signal
        intake = Table("intake", "waiting", "oldest", box=box.SIMPLE_HEAD)
        for column in intake.columns[1:]:
            column.justify = "right"
        for priority, waiting in signal.waiting.items():
            intake.add_row(priority, f"{waiting.posts:,}", span(waiting.oldest_age_seconds))
        rest = Table.grid(padding=(0, 2))
        drain = signal.drain_seconds
        left = "growing" if drain is None else f"empty in {span(drain)}" if drain else "empty"
        rows = [
            (
                "pace",
                f"{signal.posts_per_second:.1f} posts/s done, "
                f"{signal.arrivals_per_second:.1f} posts/s arriving; {left}",
            ),
            (
                "in hand",
                f"{signal.in_hand:,} posts in {told['chunks']} chunks, "
                f"{told['retries']:,} to retry",
            ),
            *self._common(callbacks_age=True),
        ]
        for name, text in rows:
            rest.add_row(Text(name, style="bold"), Text(text))
        workers = Table("worker", "", "model", "source", box=box.SIMPLE_HEAD)
        for worker in told["workers"]:
            ready = Text("ready", "green") if worker["ready"] else Text("not ready", "red")
            source = _source(worker.get("source"))
            who, model = Text(shown(worker["name"])), Text(shown(str(worker["model"])))
            workers.add_row(who, ready, model, Text(source, "yellow"))
        wanted = Text(f"{signal.ready} ready, ")
        wanted.append(
            f"{self.scaling['desired']} wanted, {self.scaling['why']}"
            if self.scaling
            else "no target set (`deadpan autoscale` sets one)"
        )
        return Group(intake, rest, workers, wanted)


def _backfill(backfill: Underway) -> str:
    words = f"{shown(backfill.name)}, {backfill.priority}: {backfill.pushed:,} pushed"
    if backfill.fraction is not None:
        words += f" ({backfill.fraction:.1%})"
    if backfill.per_second is not None:
        words += f", {backfill.per_second:,.0f}/s"
    if backfill.left_seconds:
        words += f", {span(backfill.left_seconds)} left"
    if backfill.pushed_seconds_ago >= QUIET_SECONDS:
        ago = span(backfill.pushed_seconds_ago)
        words += f"; last push {ago} ago: waiting or interrupted"
    return words


def _worker(worker: dict[str, Any]) -> str:
    is_ready = "" if worker["ready"] else "not "
    words = f"{worker['name']}, {is_ready}ready, model {worker['model']}"
    source = _source(worker.get("source"))
    return f"{words}; {source}" if source else words


def _source(said: Mapping[str, Any] | None) -> str:
    """What a worker reports about its post source; empty if all is well."""
    if not said:
        return ""
    words = []
    if said.get("down"):
        words.append("the source is down")
    if paused_seconds := said.get("paused_seconds"):
        words.append(f"the source asked for a pause; {span(paused_seconds)} left")
    if (silent_seconds := said.get("silent_seconds", 0.0)) >= QUIET_SECONDS:
        words.append(f"no response for {span(silent_seconds)}")
    if said.get("slowed"):
        at_once, per_second = said.get("requests_at_once"), said.get("requests_per_second")
        rate = f" and {per_second:.1f} a second" if per_second else ""
        words.append(f"slowed down to {at_once} concurrent requests{rate}")
    return ", ".join(words)


def span(seconds: float) -> str:
    """A duration for people: 12 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds else "–"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _watch(intake: Intake, database: Engine, interval: float) -> None:
    """Until Ctrl-C. While a service is away, says so and keeps the last picture."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from worker.local.processes import Interrupts

    picture: RenderableType = Text("nothing yet")
    seen_at = "never"
    with Interrupts():
        try:
            with Live(console=Console(highlight=False), auto_refresh=False, screen=True) as live:
                while True:
                    try:
                        picture = Snapshot(intake, database).picture()
                        seen_at = time.strftime("%H:%M:%S")
                        head = Text(f"Deadpan at {seen_at}; Ctrl-C to quit", style="dim")
                    except DeadpanError as error:
                        head = Text(f"{shown(str(error))}\nas of {seen_at}:", style="red")
                    live.update(Group(head, picture), refresh=True)
                    time.sleep(interval)
        except KeyboardInterrupt:
            return
