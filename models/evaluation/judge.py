"""Judge labelled posts with a model, and measure its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.checkpoint.calibration import HEADS, READ_OUTS
from models.data.posts_file import LabelledPost
from models.evaluation.metrics import compare, measure
from models.posts.prediction import (
    QUESTIONS,
    SENTIMENTS,
    ImageProblem,
    Prediction,
    PreparedPost,
    Scores,
)

if TYPE_CHECKING:
    from models.serving.classifier import Classifier

__all__ = ["READ_OUTS", "Answers", "Judged", "judge", "measure_answers", "prepared"]

_POSTS_AT_ONCE = 128

Labels = npt.NDArray[np.int64]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """One read-out of many posts.

    Attributes:
        of: by question, probabilities, float [posts, labels]; of a question that the model was not
            asked, nothing.
        given: bool [posts]; rows without are ignored.
    """

    of: Mapping[str, npt.NDArray[np.float64]]
    given: npt.NDArray[np.bool_]

    def chosen(self, rows: npt.NDArray[np.bool_]) -> Answers:
        """Of some of the posts, bool [posts]."""
        return Answers({name: found[rows] for name, found in self.of.items()}, self.given[rows])


@dataclass(frozen=True, slots=True)
class Judged:
    """Posts with what the model said of them.

    Attributes:
        model: version of the model.
        calibration: version of its calibration.
        posts: in the order of the answers.
        answers: by read-out.
        labels: as `labels_of` gives them.
    """

    model: str
    calibration: str
    posts: tuple[LabelledPost, ...]
    answers: Mapping[str, Answers]
    labels: Mapping[str, Labels]


def is_labelled(post: LabelledPost) -> bool:
    """Whether anything is known of the post."""
    return any(answer >= 0 for answer in label_of(post).values())


def judge(
    classifier: Classifier, posts: Sequence[LabelledPost], *, report: Report = lambda line: None
) -> Judged:
    """Judge posts, labelled or not; `report` gets lines of progress."""
    predictions: list[Prediction] = []
    for batch in prepared(classifier, posts, report):
        predictions += classifier.predict(batch)
    return Judged(
        model=classifier.info.version,
        calibration=classifier.info.calibration_version,
        posts=tuple(posts),
        answers={name: _answers([getattr(one, name) for one in predictions]) for name in READ_OUTS},
        labels=labels_of(posts),
    )


def measure_judged(judged: Judged, *, seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """Measure all there is a label for.

    Returns:
        {"model", "calibration", each of `HEADS`, "differences"}: a head has the read-outs "fused",
        "text_alone" and "image_alone", each as `measure` gives it. A head without labels and a
        read-out without posts are None. "fused" counts every labelled post, the others those that
        have words, or a picture that could be decoded; words and pictures alone are measured
        against the label of their side where a post has one. "differences" says by head what
        fusion adds to each modality on the posts that have both, as `compare` gives it.
    """
    measured = measure_answers(judged.answers, judged.labels, seed=seed, resamples=resamples)
    return {
        "model": judged.model,
        "calibration": judged.calibration,
        **measured,
        "differences": {
            head: _differences(judged, head, seed=seed, resamples=resamples) for head in HEADS
        },
    }


def _differences(judged: Judged, head: str, *, seed: int, resamples: int) -> dict[str, Any]:
    """Fused against each modality alone, on the posts that have both."""
    fused, text, image = (judged.answers[name] for name in READ_OUTS)
    chosen = (judged.labels[head] >= 0) & text.given & image.given
    if not chosen.any():
        return {}
    return {
        f"fused - {name}": compare(
            fused.of[head][chosen],
            alone.of[head][chosen],
            judged.labels[head][chosen],
            QUESTIONS[head],
            seed=seed,
            resamples=resamples,
        )
        for name, alone in (("text_alone", text), ("image_alone", image))
        if head in alone.of
    }


def measure_answers(
    answers: Mapping[str, Answers],
    labels: Mapping[str, Labels],
    *,
    groups: Labels | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure answers, by read-out, against labels, as `labels_of` gives them.

    Args:
        groups: as `measure` takes them.
    """
    result: dict[str, Any] = {}
    for head in QUESTIONS:
        result[head] = None
        if (labels[head] >= 0).any() and head in answers["fused"].of:
            result[head] = {
                name: _measured(
                    answer,
                    labels_for(labels, name, head),
                    head,
                    groups,
                    seed=seed,
                    resamples=resamples,
                )
                for name, answer in answers.items()
                if head in answer.of
            }
    return result


def _measured(
    answer: Answers, labels: Labels, head: str, groups: Labels | None, **how: int
) -> dict[str, Any] | None:
    rows = (labels >= 0) & answer.given
    chosen = None if groups is None else groups[rows]
    return measure(answer.of[head][rows], labels[rows], QUESTIONS[head], groups=chosen, **how)


def label_of(post: LabelledPost) -> dict[str, int]:
    """By question, the index into its labels, -1 where unknown; and what annotators said of the
    words and of the pictures of a post, where they were asked for both."""
    sentiments = {
        "sentiment": post.sentiment,
        "text_alone.sentiment": post.text_sentiment,
        "image_alone.sentiment": post.image_sentiment,
    }
    truths = {"sarcasm": post.sarcastic, "offensive": post.offensive, "hateful": post.hateful}
    return {
        name: SENTIMENTS.index(label) if label else -1 for name, label in sentiments.items()
    } | {name: -1 if truth is None else int(truth) for name, truth in truths.items()}


def labels_of(posts: Sequence[LabelledPost]) -> dict[str, Labels]:
    """As `label_of`, int64 [posts] each."""
    rows = [label_of(post) for post in posts]
    names = label_of(LabelledPost("", ""))
    return {name: np.array([row[name] for row in rows], dtype=np.int64) for name in names}


def labels_for(labels: Mapping[str, Labels], read_out: str, head: str) -> Labels:
    """What a read-out is measured against, int [posts]: the label of its side where there is one,
    else that of the whole post."""
    side = labels.get(f"{read_out}.{head}")
    return labels[head] if side is None else np.where(side >= 0, side, labels[head])


def prepared(
    classifier: Classifier, posts: Sequence[LabelledPost], report: Report = lambda line: None
) -> Iterator[list[PreparedPost]]:
    """The posts, prepared in batches; a picture that cannot be read is its post's problem."""

    def read_and_prepare(post: LabelledPost) -> PreparedPost:
        return classifier.prepare(post.text, [_read(path) for path in post.images])

    with ThreadPoolExecutor(max_workers=2) as pool:
        for start in range(0, len(posts), _POSTS_AT_ONCE):
            batch = posts[start : start + _POSTS_AT_ONCE]
            yield list(pool.map(read_and_prepare, batch))
            report(f"judged {start + len(batch)} of {len(posts)} posts")


def _read(path: Path) -> bytes | ImageProblem:
    try:
        return path.read_bytes()
    except OSError as error:
        return ImageProblem(f"{path} cannot be read: {error.strerror or error}")


def _answers(scores: Sequence[Scores | None]) -> Answers:
    of = {"sentiment": np.zeros((len(scores), len(SENTIMENTS)))}
    for row, one in enumerate(scores):
        if one is None:
            continue
        of["sentiment"][row] = one.sentiment
        for question in HEADS[1:]:
            truth = getattr(one, question)
            if truth is not None:
                found = of.setdefault(question, np.zeros((len(scores), 2)))
                found[row] = (1.0 - truth, truth)
    return Answers(of, np.array([one is not None for one in scores], dtype=bool))
