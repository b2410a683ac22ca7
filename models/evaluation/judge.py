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
    SARCASM_LABELS,
    SENTIMENTS,
    ImageProblem,
    Prediction,
    PreparedPost,
    Scores,
)

if TYPE_CHECKING:
    from models.serving.classifier import Classifier

__all__ = ["READ_OUTS", "Answers", "Judged", "judge", "measure_answers", "prepared"]

LABELS = {"sentiment": SENTIMENTS, "sarcasm": SARCASM_LABELS}
"""Of each head, in the order of its logits."""

_POSTS_AT_ONCE = 128

Labels = npt.NDArray[np.int64]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """One read-out of many posts.

    Attributes:
        sentiment: float [posts, 3].
        sarcasm: float [posts, 2].
        given: bool [posts]; rows without are ignored.
    """

    sentiment: npt.NDArray[np.float64]
    sarcasm: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judged:
    """Posts with what the model said of them.

    Attributes:
        model: version of the model.
        calibration: version of its calibration.
        posts: in the order of the answers.
        answers: by read-out.
        labels: by head, int [posts], index into the head's labels, -1 where unknown.
    """

    model: str
    calibration: str
    posts: tuple[LabelledPost, ...]
    answers: Mapping[str, Answers]
    labels: Mapping[str, Labels]


def is_labelled(post: LabelledPost) -> bool:
    """Whether anything is known of the post."""
    return post.sentiment is not None or post.sarcastic is not None


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
        {"model", "calibration", "sentiment", "sarcasm", "differences"}: a head has the read-outs
        "fused", "text_alone" and "image_alone", each as `measure` gives it. A head without labels
        and a read-out without posts are None. "fused" counts every labelled post, the others those
        that have words, or a picture that could be decoded. "differences" says by head what fusion
        adds to each modality on the posts that have both, as `compare` gives it.
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
            getattr(fused, head)[chosen],
            getattr(alone, head)[chosen],
            judged.labels[head][chosen],
            LABELS[head],
            seed=seed,
            resamples=resamples,
        )
        for name, alone in (("text_alone", text), ("image_alone", image))
    }


def measure_answers(
    answers: Mapping[str, Answers],
    labels: Mapping[str, Labels],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure answers, by read-out, against labels, by head: int [posts], -1 where unknown."""
    result: dict[str, Any] = {}
    for head, names in LABELS.items():
        known = labels[head] >= 0
        result[head] = None
        if known.any():
            result[head] = {
                name: measure(
                    getattr(answer, head)[known & answer.given],
                    labels[head][known & answer.given],
                    names,
                    seed=seed,
                    resamples=resamples,
                )
                for name, answer in answers.items()
            }
    return result


def labels_of(posts: Sequence[LabelledPost]) -> dict[str, Labels]:
    """By head, the index into its labels, int64 [posts], -1 where unknown."""
    sentiment = [SENTIMENTS.index(post.sentiment) if post.sentiment else -1 for post in posts]
    sarcasm = [-1 if post.sarcastic is None else int(post.sarcastic) for post in posts]
    return {
        "sentiment": np.array(sentiment, dtype=np.int64),
        "sarcasm": np.array(sarcasm, dtype=np.int64),
    }


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
    sentiment = np.zeros((len(scores), len(SENTIMENTS)))
    sarcasm = np.zeros((len(scores), len(SARCASM_LABELS)))
    for row, one in enumerate(scores):
        if one is not None:
            sentiment[row] = one.sentiment
            sarcasm[row] = (1.0 - one.sarcasm, one.sarcasm)
    return Answers(sentiment, sarcasm, np.array([one is not None for one in scores], dtype=bool))
