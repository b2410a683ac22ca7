"""`deadpan canary`: how a challenger compares with the model that judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table
from deadpan.commands.services import on_database

if TYPE_CHECKING:
    from storage.reports.statistics import Paired, Share
    from storage.trials.comparison import Comparison
    from storage.trials.trials import Trial

_SAME = {
    "sentiment": "same sentiment",
    "sarcasm": "same answer on sarcasm",
    "offensive": "same answer on offensive words",
    "hateful": "same answer on hateful words",
}


def canary(
    challenger: Annotated[
        str, typer.Option(help="The challenger's model version; default: the latest that judged.")
    ] = "",
    champion: Annotated[
        str, typer.Option(help="The champion's model version; default: the latest that judged.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(help="Only posts judged since then: a day or a time, in UTC by default."),
    ] = "",
    examples: Annotated[
        int, typer.Option(min=0, max=1000, help="How many of the largest differences to show.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Compare the challenger (DEADPAN_CHALLENGER) with the champion, on posts both judged."""
    from storage.reports.labelled import moment
    from storage.trials import comparison
    from storage.trials.trials import trials

    start = moment(since) if since else None
    told = None
    with on_database(read_only=True) as connection:
        found = trials(connection, champion=champion, challenger=challenger, since=start)
        if found:
            told = comparison.compare(connection, found[0], since=start, examples=examples)
    if as_json:
        others = [_named(trial) for trial in found[1:]]
        print_json({**(told.as_json() if told else {"trial": None, "posts": 0}), "others": others})
    elif told is None:
        typer.echo("no challenger has judged any post; set DEADPAN_CHALLENGER for the workers")
    else:
        _show(told)
        for trial in found[1:]:
            typer.echo(f"there is also {_sentence(trial)}")


def _named(trial: Trial) -> dict[str, Any]:
    return {
        "champion": trial.champion,
        "champion_calibration": trial.champion_calibration,
        "challenger": trial.challenger,
        "challenger_calibration": trial.challenger_calibration,
        "policy": trial.policy,
        "posts": trial.posts,
    }


def _sentence(trial: Trial) -> str:
    return (
        f"challenger {trial.challenger} (calibration {trial.challenger_calibration}) beside "
        f"{trial.champion} (calibration {trial.champion_calibration}), policy {trial.policy}: "
        f"{trial.posts} posts"
    )


def _show(told: Comparison) -> None:
    from storage.trials.trials import ANSWERS

    trial = told.trial
    typer.echo(_sentence(trial))
    typer.echo(f"from {trial.first:%Y-%m-%d %H:%M} to {trial.last:%Y-%m-%d %H:%M} UTC")
    if told.posts < trial.posts:
        typer.echo(f"{trial.posts - told.posts} of them no longer have a verdict and are left out")
    print_table(
        [
            {"of": of, "share": _percent(share), "kappa": _number(kappa)}
            for of, share, kappa in (
                *((_SAME[name], one.share, one.kappa) for name, one in told.agreement.items()),
                ("flagged by the champion", told.flags.champion, None),
                ("flagged by the challenger", told.flags.challenger, None),
            )
        ],
        ["of", "share", "kappa"],
    )
    for question, one in told.agreement.items():
        if one.share.n:
            _print_confusion(ANSWERS[question], one.confusion)
    flags = told.flags
    typer.echo(f"flags: {flags.both} of both, {flags.removed} removed, {flags.added} added")
    rules = sorted(flags.added_by_rule.keys() | flags.removed_by_rule.keys())
    if rules:
        print_table(
            [
                {
                    "rule": rule,
                    "removed": flags.removed_by_rule.get(rule, 0),
                    "added": flags.added_by_rule.get(rule, 0),
                }
                for rule in rules
            ],
            ["rule", "removed", "added"],
        )
    print_table(
        [
            {
                "score": name,
                "mean shift": _number(shift.mean, sign=True),
                "95 %": f"{_number(shift.low, sign=True)} to {_number(shift.high, sign=True)}",
                "mean distance": _number(shift.mean_absolute),
            }
            for name, shift in told.shifts.items()
        ],
        ["score", "mean shift", "95 %", "mean distance"],
    )
    _show_decided(told)
    if told.examples:
        rows = [
            {
                "post": example.post_id,
                "distance": f"{example.distance:.2f}",
                "champion": _scores(example.champion, example.champion_rules),
                "challenger": _scores(example.challenger, example.challenger_rules),
            }
            for example in told.examples
        ]
        print_table(rows, ["post", "distance", "champion", "challenger"])


def _show_decided(told: Comparison) -> None:
    decided = told.decided
    rows = [_paired(question, counts) for question, counts in decided.right.items()]
    if any(row["posts"] for row in rows):
        typer.echo(
            "who was right, where moderators (who saw the champion's scores) labelled the post:"
        )
        print_table(
            rows, ["of", "posts", "both", "champion only", "challenger only", "neither", "p"]
        )
    if decided.dropped.n or decided.kept.n:
        typer.echo(
            f"decided flags that the challenger would not raise: {decided.dropped.n}, of which "
            f"approved {_percent(decided.dropped)}; that it raises too: {decided.kept.n}, of which "
            f"removed {_percent(decided.kept)}"
        )


def _paired(of: str, counts: Paired) -> dict[str, Any]:
    four = (counts.both, counts.champion_only, counts.challenger_only, counts.neither)
    names = ("both", "champion only", "challenger only", "neither")
    p = "" if counts.p_value is None else f"{counts.p_value:.3g}"
    return {"of": of, "posts": sum(four), **dict(zip(names, four, strict=True)), "p": p}


def _print_confusion(labels: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    table = [
        {"champion": label, **dict(zip(labels, row, strict=True))}
        for label, row in zip(labels, rows, strict=True)
    ]
    print_table(table, ["champion", *labels])


def _scores(scores: Any, rules: Any) -> str:
    label = max(("negative", "neutral", "positive"), key=lambda name: float(scores[name]))
    flagged = f"; flagged: {', '.join(rules)}" if rules else ""
    others = (f", {name} {scores[name]:.2f}" for name in _SAME if name in scores)
    return f"{label} {scores[label]:.2f}{''.join(others)}{flagged}"


def _percent(share: Share) -> str:
    if share.value is None:
        return "–"
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}; {share.count} of {share.n})"


def _number(value: float | None, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"
