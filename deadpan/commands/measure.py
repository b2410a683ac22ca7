"""Commands that measure a model: evaluate, calibrate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deadpan.commands.output import AsJson, print_json, print_table, warn
from deadpan.core.errors import ConfigurationError
from deadpan.core.settings import load

ModelName = Annotated[
    str | None,
    typer.Option("--model", help="A preset or checkpoint folder; default DEADPAN_MODEL."),
]


def evaluate(
    posts: Annotated[Path, typer.Argument(help="Labelled posts (JSONL).")],
    model: ModelName = None,
    conflict: Annotated[
        Path | None,
        typer.Option(
            help="Posts (JSONL) whose words and picture contradict each other, to measure how well "
            "disagreement tells them from POSTS. Rows of POSTS with `conflict: true` count too."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with plots and the worst mistakes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on labelled posts; each metric has its 95 % bootstrap interval."""
    files = _read_files([posts, *([conflict] if conflict else [])])

    from models.evaluation.conflict_auc import measure_conflict
    from models.evaluation.judge import is_labelled, judge, measure_judged
    from models.evaluation.report import render_report, write_report

    if report is not None and not report.parent.is_dir():
        raise ConfigurationError(f"--report {report}: the folder {report.parent} does not exist")
    classifier = load_classifier(model)
    labelled = [post for post in files[0].posts if is_labelled(post) and not post.conflict]
    against = [post for post in files[0].posts if post.conflict]
    against += [post for file in files[1:] for post in file.posts]
    judged = judge(classifier, labelled, report=tell)
    told = measure_judged(judged, seed=seed)
    conflicting = judge(classifier, against, report=tell) if against else None
    if conflicting is not None:
        told["conflict"] = measure_conflict(judged, conflicting, seed=seed)
    if report is not None:
        page = render_report(
            judged, told, files, conflicting=conflicting, conflict=told.get("conflict")
        )
        write_report(report, page)
    if as_json:
        print_json(told)
        return
    print_scores(told)
    print_differences(told)
    _print_conflict(told.get("conflict"))
    typer.echo(f"model {told['model']}, calibration {told['calibration']}")
    if report is not None:
        typer.echo(f"report in {report}")


def calibrate(
    posts: Annotated[
        list[Path], typer.Argument(help="Labelled posts (JSONL) that the model was not trained on.")
    ],
    model: ModelName = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for a calibrated copy; default: change the model."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE=P",
            help="Choose the lowest threshold of SCORE with this precision; may be repeated.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="low|value",
            help="Whether the lower end of the 95 % interval must reach it, or the value itself.",
        ),
    ] = "low",
    flags_per_day: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SCORE=]N",
            help="Choose the lowest threshold with at most this many flags; may be repeated.",
        ),
    ] = None,
    posts_per_day: Annotated[
        float | None, typer.Option(min=1, help="Posts that the platform gets a day.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Write a policy (TOML) with the thresholds.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit temperatures and choose thresholds on held-out posts, and save both."""
    from dataclasses import replace

    from models.checkpoint.checkpoint import check_output, read_info, write_calibration
    from models.evaluation.calibrate import calibrate as fit
    from models.evaluation.calibrate import logits_of, refuse_training_data
    from models.evaluation.thresholds import Wanted, choose, score_values
    from tasks.policy.calibrated import policy_toml, write_policy
    from tasks.policy.reason_codes import read_reason_codes

    wanted = Wanted.parse(precision or [], flags_per_day or [], posts_per_day, bound=by)
    if policy is not None and not wanted.scores:
        raise ConfigurationError("--policy needs a threshold; choose one with --precision SCORE=P")
    if output is not None:
        check_output(output)
    files = _read_files(posts)
    info = read_info(model or load().model)
    refuse_training_data(info, files)
    classifier = load_classifier(model)
    logits = logits_of(classifier, [post for file in files for post in file.posts], tell)
    calibration, left = fit(logits, files, seed=seed)
    chosen = [
        choose(score, *score_values(logits, calibration, score), wanted) for score in wanted.scores
    ]
    calibration = replace(calibration, thresholds=tuple(one.as_row() for one in chosen))
    if policy is not None:
        text = policy_toml(
            calibration.thresholds,
            model=info.version,
            calibration=calibration.version,
            data=calibration.data,
            # Only those of the platform's own policy.
            reason_codes=read_reason_codes(load().policy) if load().policy else None,
        )
        write_policy(policy, text)
    written = write_calibration(info.path, calibration, output)
    for line in left:
        warn(line)
    if as_json:
        told = {"model": info.version, "path": str(written.path), **calibration.to_json()}
        print_json({**told, "tables": {one.score: one.table() for one in chosen}})
        return
    _print_temperatures(calibration.measured)
    for one in chosen:
        typer.echo(f"\n{one.score}: {one.why}")
        _print_thresholds(one.table(), one.row.threshold)
    if wanted.posts_per_day is not None:
        typer.echo("Flags a day assume that posts arrive in the proportions of these files.")
    typer.echo(f"calibration {calibration.version} of model {info.version} in {written.path}")
    if policy is not None:
        typer.echo(f"policy in {policy}")


def load_classifier(model: str | None) -> Any:
    """The model that an option or else the settings name."""
    from worker.model import load_classifier as load_wanted

    return load_wanted(load(), model=model)


def tell(line: str) -> None:
    """A line of progress on standard error."""
    sys.stderr.write(f"{line}\n")


def print_scores(told: dict[str, Any]) -> None:
    """A table of what `evaluate` found."""
    from models.posts.prediction import QUESTIONS

    metrics = ("accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece")
    rows = []
    for head in QUESTIONS:
        for read_out, measured in (told.get(head) or {}).items():
            if measured is None:
                continue
            shown = {metric: _interval(measured[metric]) for metric in metrics}
            rows.append({"head": head, "read-out": read_out, "posts": measured["n"], **shown})
    print_table(rows, ["head", "read-out", "posts", *metrics], empty="the file has no labels")


def print_f1(told: dict[str, Any]) -> None:
    """A table of the F1 of each label."""
    from models.posts.prediction import QUESTIONS

    rows = [
        {"head": head, "read-out": read_out, "label": label, "F1": _interval(measured["f1"])}
        for head in QUESTIONS
        for read_out, one in (told.get(head) or {}).items()
        if one is not None
        for label, measured in one["per_class"].items()
    ]
    print_table(rows, ["head", "read-out", "label", "F1"])


def print_differences(told: dict[str, Any]) -> None:
    """A table of what fusion adds."""
    metrics = ("accuracy", "macro_f1", "weighted_f1", "macro_recall")
    rows = [
        {"head": head, "difference": name, "posts": found["n"]}
        | {metric: _interval(found[metric], "+.3f") for metric in metrics}
        for head, by_name in told["differences"].items()
        for name, found in by_name.items()
    ]
    if rows:
        print_table(rows, ["head", "difference", "posts", *metrics])


def _print_conflict(conflict: dict[str, Any] | None) -> None:
    rows = [
        {"score": name, "posts": found["n"], "in conflict": found["true"], "AUC": _interval(found)}
        for name, found in (conflict or {}).items()
        if found
    ]
    if rows:
        print_table(rows, ["score", "posts", "in conflict", "AUC"])


def _print_temperatures(measured: Any) -> None:
    rows = [
        {
            "head": head,
            "pattern": pattern,
            "posts": found["n"],
            "temperature": f"{found['temperature']:.3f}",
            "error before": _interval(found["ece_before"]),
            "error after": _interval(found["ece_after"]),
            "by chance": f"{found['ece_of_perfect']:.3f}",
        }
        for head, by_pattern in measured.items()
        for pattern, found in by_pattern.items()
    ]
    print_table(
        rows,
        list(rows[0]) if rows else [],
        empty="too few labelled posts: temperatures stay 1",
    )


def _print_thresholds(table: Sequence[dict[str, Any]], chosen: float) -> None:
    """Thresholds in steps of 0.05, and the chosen one."""
    rows = []
    for row in table:
        is_chosen = row["threshold"] == chosen
        if is_chosen or round(row["threshold"] * 100) % 5 == 0:
            per_day = row["flags_per_day"]
            rows.append(
                {
                    "": "chosen" if is_chosen else "",
                    "threshold": f"{row['threshold']:.2f}",
                    "precision": _interval(row["precision"]),
                    "recall": _interval(row["recall"]),
                    "flagged": row["flagged"],
                    "flags a day": None if per_day is None else f"{per_day:.0f}",
                }
            )
    print_table(rows, list(rows[0]))


def _interval(metric: dict[str, float], how: str = ".3f") -> str:
    return f"{metric['value']:{how}} [{metric['low']:{how}}, {metric['high']:{how}}]"


def _read_files(paths: Sequence[Path]) -> Any:
    from models.data.posts_file import read_posts

    files = [read_posts(path) for path in paths]
    for file in files:
        for warning in file.warnings:
            warn(warning)
    return files
