"""`deadpan policy`: what another policy would mean, before it judges anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.commands.services import on_database
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

if TYPE_CHECKING:
    from storage.reports.recall import Estimate

policy = typer.Typer(help="The policy: what another one would mean.", no_args_is_help=True)


@policy.callback()
def _group() -> None:
    """Keep `what-if` a command of the group, though it is alone."""


@policy.command("what-if")
def what_if(
    file: Annotated[str, typer.Argument(help="A policy file to try instead.")] = "",
    rule: Annotated[str, typer.Option(help="A rule of the policy in use, to change.")] = "",
    threshold: Annotated[
        float, typer.Option(help="The new threshold of the rule's first score.")
    ] = -1.0,
    precision: Annotated[
        float, typer.Option(help="Find the threshold with at least this precision, such as 0.8.")
    ] = -1.0,
    flags_a_day: Annotated[
        float, typer.Option(help="Find the threshold with at most so many flags a day of the rule.")
    ] = -1.0,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days to look back.")] = 30,
    examples: Annotated[
        int, typer.Option(min=0, max=1000, help="How many posts of each kind to show.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Say what another policy would flag: flags a day, precision, recall, hours, posts."""
    from storage.reports import judged
    from tasks.policy import goals
    from tasks.policy import what_if as work
    from tasks.policy.rules import load_policy

    asked = sum(each >= 0 for each in (threshold, precision, flags_a_day))
    if bool(file) == bool(rule) or asked != bool(rule):
        raise ConfigurationError(
            "give a policy file, or --rule NAME with one of --threshold NUMBER, --precision SHARE "
            "and --flags-a-day NUMBER"
        )
    before = load_policy(load().policy)
    until = datetime.now(UTC)
    with on_database(read_only=True) as connection:
        sample = judged.sample(connection, since=until - timedelta(days=days), until=until)
    found = None
    if precision >= 0:
        found = goals.for_precision(before, rule, sample, precision)
    elif flags_a_day >= 0:
        found = goals.for_flags_a_day(before, rule, sample, flags_a_day)
    threshold = found.threshold if found else threshold
    after = load_policy(file) if file else work.with_threshold(before, rule, threshold)
    change = work.what_if(before, after, sample, examples=examples)
    told: dict[str, Any] = {
        "before": {"policy": before.version, **asdict(change.before)},
        "after": {"policy": after.version, **asdict(change.after)},
        "goal": None if found is None else asdict(found),
        "sampled": change.sampled,
        "stand_for": change.stand_for,
        "days": change.days,
        "appear": [each.verdict.post_id for each in change.appear],
        "vanish": [each.verdict.post_id for each in change.vanish],
    }
    if as_json:
        print_json(told)
        return
    if found is not None:
        reached = _percent(found.reached) if found.decided else _number(found.reached)
        behind = f" of {found.decided} decided flags" if found.decided else " flags of it a day"
        typer.echo(f"threshold of {rule}: {found.threshold:g}, with {reached}{behind}")
    rows = [
        {"": name, "now": show(change.before), "then": show(change.after)}
        for name, show in _SHOWN.items()
    ]
    queues = sorted({*change.before.queues, *change.after.queues})
    rows += [
        {
            "": f"flags a day in {queue}",
            "now": f"{change.before.queues.get(queue, 0):.1f}",
            "then": f"{change.after.queues.get(queue, 0):.1f}",
        }
        for queue in queues
    ]
    print_table(rows, ["", "now", "then"])
    typer.echo(
        f"from {change.sampled} of {change.stand_for} verdicts of the last {days} days; "
        "95 % intervals"
    )
    for name in ("appear", "vanish"):
        if told[name]:
            typer.echo(f"would {name}, for example: {', '.join(map(str, told[name]))}")


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not known"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _number(flags: Estimate) -> str:
    return f"{flags.value:.1f} ({flags.low:.1f} to {flags.high:.1f})"


_SHOWN: Mapping[str, Callable[[Any], str]] = {
    "flags a day": lambda outlook: _number(outlook.flags_per_day),
    "precision": lambda outlook: _percent(outlook.precision),
    "recall": lambda outlook: _percent(outlook.recall),
    "moderators' hours a day": lambda outlook: (
        "not known" if outlook.hours_per_day is None else f"{outlook.hours_per_day:.1f}"
    ),
}
