"""How much of what moderators would remove comes first: in the learned order, by score, by age.

    python -m benchmarks.order FOLDER [--decisions 200,500,1000] [--tried 1000] [--rounds 20]

A simulation on real labelled posts, in stand-ins for a platform's rules: posts that people called
offensive or hateful (TweetEval), or negative (UMSAB, eight languages, whose `val` files the shipped
model did not learn from). All posts of a set are taken as flagged by one rule, and decided as they
are labelled. The shipped model's scores are read once. Each round shuffles a set, learns from its
first posts as housekeeping would, and orders posts that it has not seen. The interval is of the
mean over the rounds, which draw from the same posts: it says how much chance is in these figures,
not how another platform would do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from models.serving.classifier import Classifier
from storage.base.text import search_form
from storage.flags.placing import Known
from tasks.order import learned

SETS = {
    "offensive": (("tweeteval_offensive_train", "tweeteval_offensive_val"), "offensive"),
    "hateful": (("tweeteval_hate_train", "tweeteval_hate_val"), "hateful"),
    "negative": (("umsab_val",), "negative"),
}
_BATCH = 64
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the sets as JSON lines")
    parser.add_argument("--decisions", default="200,500,1000")
    parser.add_argument("--tried", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--scores", type=Path, help="where the posts' scores are kept")
    given = parser.parse_args()
    numbers = [int(each) for each in given.decisions.split(",")]
    posts = _scored(given.folder, max(numbers) + given.tried, given.scores)
    print("| posts | removed | decisions | by age | by score | learned | at best |")
    print("|---|---|---|---|---|---|---|")
    for name, (_, label) in SETS.items():
        for number in numbers:
            told = _rounds(posts[name], label, number, given)
            cells = " | ".join(_percent(told[key]) for key in ("age", "score", "learned", "best"))
            print(f"| {name} | {np.mean(told['share']):.0%} | {number} | {cells} |", flush=True)


def _rounds(
    posts: Sequence[Mapping[str, Any]], label: str, number: int, given: argparse.Namespace
) -> dict[str, list[float]]:
    told: dict[str, list[float]] = {}
    for seed in range(given.rounds):
        chance = np.random.default_rng(seed)
        order = chance.permutation(len(posts))[: number + given.tried]
        flags = [_flag(n, posts[post], label) for n, post in enumerate(order)]
        trained = learned.train(flags[:number], authors=False)
        tried = flags[number:]
        removed = np.array([bool(flag.removed) for flag in tried])
        by_age = -np.arange(len(tried))
        merits = {
            "age": by_age,
            "score": learned.highest_scores(tried),
            # Where it is not good enough, the queue stays in the order of age.
            "learned": by_age if trained.ranker is None else trained.ranker.chances_of(tried),
            "best": removed.astype(float),
        }
        first = round(len(tried) * learned.FIRST)
        for key, merit in merits.items():
            reached = removed[np.argsort(-merit, kind="stable")[:first]].sum() / removed.sum()
            told.setdefault(key, []).append(float(reached))
        told.setdefault("share", []).append(float(removed.mean()))
    return told


def _percent(values: Sequence[float]) -> str:
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return f"{mean:.1%} ± {1.96 * error:.1%}"


def _flag(number: int, post: Mapping[str, Any], label: str) -> Known:
    opened_at = _BEGIN + timedelta(minutes=number)
    said = post["sentiment"] == "negative" if label == "negative" else post[label]
    return Known(
        id=number + 1,
        post_id=post["id"],
        priority=50,
        opened_at=opened_at,
        closed_at=opened_at + timedelta(hours=1),
        author=None,
        language=post.get("language", "en"),
        rules=(label,),
        scores=post["scores"],
        text_alone={
            name: post["scores"][name] for name in ("negative", "neutral", "positive", "sarcasm")
        },
        image_alone={},
        pictures=0,
        incomplete=False,
        unlearnt=False,
        words=search_form(post["text"]),
        removed=bool(said),
    )


def _scored(folder: Path, number: int, kept: Path | None) -> dict[str, list[dict[str, Any]]]:
    """So many posts of each set, chosen by chance, with the shipped model's scores."""
    if kept is not None and kept.exists():
        found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    classifier = Classifier.load("mini", engine="openvino")
    posts: dict[str, list[dict[str, Any]]] = {}
    for name, (files, _) in SETS.items():
        lines = [
            json.loads(line)
            for file in files
            for line in (folder / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        chosen = np.random.default_rng(0).permutation(len(lines))[:number]
        posts[name] = [lines[n] for n in chosen]
        for begin in range(0, len(posts[name]), _BATCH):
            part = posts[name][begin : begin + _BATCH]
            prepared = [classifier.prepare(post["text"], []) for post in part]
            for post, prediction in zip(part, classifier.predict(prepared), strict=True):
                fused = prediction.fused
                scores = {**fused.sentiment._asdict(), "sarcasm": fused.sarcasm}
                of_words = {"offensive": fused.offensive, "hateful": fused.hateful}
                scores |= {key: value for key, value in of_words.items() if value is not None}
                post["scores"] = {key: round(float(value), 4) for key, value in scores.items()}
    if kept is not None:
        kept.write_text(json.dumps(posts), encoding="utf-8")
    return posts


if __name__ == "__main__":
    main()
