"""The report is one valid page with everything on it, and nothing of a post is markup."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from deadpan.core.errors import DataError
from models.data.posts_file import LabelledPost, PostsFile
from models.evaluation.conflict_auc import auc, conflict_scores, measure_conflict
from models.evaluation.judge import Answers, Judged, labels_of, measure_judged
from models.evaluation.metrics import compare, measure
from models.evaluation.plots import average_precision, precision_recall
from models.evaluation.report import MISTAKES, render_report, write_report
from models.posts.prediction import SENTIMENTS

# Marks of HTML are read as a browser shows them; these are none, and stand as they were written.
HOSTILE = "<scripts>alert(1)</scripts> & \"quotes\" 'n' {{ 7*7 }}"


def answers(random: np.random.Generator, count: int, sure: float) -> Answers:
    return Answers(
        {
            "sentiment": random.dirichlet(np.full(3, sure), count),
            "sarcasm": random.dirichlet(np.full(2, sure), count),
        },
        np.ones(count, dtype=bool),
    )


def judged(folder: Path, *, count: int = 60, sure: float = 0.5, sarcasm: bool = True) -> Judged:
    random = np.random.default_rng(int(10 * sure))
    picture = folder / "picture.png"
    Image.new("RGB", (900, 500), "red").save(picture)
    broken = folder / "broken.jpg"
    broken.write_bytes(b"no picture")
    text = answers(random, count, sure)
    text.given[: count // 10] = False
    return Judged(
        model="toy-1",
        calibration="none",
        posts=tuple(
            LabelledPost(f"{index} <b>", HOSTILE, (picture, broken)) for index in range(count)
        ),
        answers={
            "fused": answers(random, count, sure),
            "text_alone": text,
            "image_alone": answers(random, count, sure),
        },
        labels={
            **labels_of([LabelledPost("", "")] * count),
            "sentiment": random.integers(0, 3, count),
            "sarcasm": random.integers(0, 2, count) if sarcasm else np.full(count, -1),
        },
    )


def page_of(one: Judged, **more: object) -> str:
    file = PostsFile(Path("<i>dev</i>.jsonl"), "ab" * 32, one.posts, ())
    return render_report(one, measure_judged(one, resamples=20), [file], **more)  # type: ignore[arg-type]


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order, and counts them."""

    VOID = frozenset({"meta", "img", "br", "line", "rect", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = page_of(judged(tmp_path))
    page = Page(text)
    assert page.open == []
    assert text.startswith("<!doctype html>")
    assert all(one.startswith(("data:image/jpeg;base64,", "#")) for one in page.addresses)
    assert "url(" not in text
    assert "script" not in page.tags


def test_nothing_of_a_post_or_a_file_name_is_markup(tmp_path: Path) -> None:
    text = page_of(judged(tmp_path))
    assert "<script" not in text
    assert "&lt;scripts&gt;alert(1)&lt;/scripts&gt;" in text
    assert "49" not in re.findall(r'class="post"[^>]*>([^<]*)', text)[0]
    assert "<i>dev" not in text
    assert "<b>" not in text


def test_the_page_has_every_part(tmp_path: Path) -> None:
    one, other = judged(tmp_path), judged(tmp_path, sure=0.2)
    text = page_of(one, conflicting=other, conflict=measure_conflict(one, other, resamples=20))
    for part in (
        "toy-1",
        "is not calibrated",
        "Summary",
        "What fusion adds",
        "Confusion",
        "Precision and recall",
        "Reliability",
        "Worst mistakes",
        'id="sentiment"',
        'id="sarcasm"',
        'id="disagreement"',
        "opposition",
        "words and picture, minus words alone",
    ):
        assert part in text
    # sentiment: 3 labels + 3 read-outs; sarcasm: 1 + 3; disagreement: 1
    assert text.count("<svg") == 11
    assert text.count("<article>") == 2 * MISTAKES
    assert text.count("<img") == 2 * MISTAKES


def test_the_surest_mistakes_come_first(tmp_path: Path) -> None:
    one = judged(tmp_path, sarcasm=False)
    fused = one.answers["fused"].of["sentiment"]
    wrong = fused.argmax(axis=1) != one.labels["sentiment"]
    surest = int(np.flatnonzero(wrong)[fused[wrong].max(axis=1).argmax()])
    text = page_of(one)
    assert re.findall(r'class="id">post <code>(\d+)', text)[0] == str(surest)
    assert 'id="sarcasm"' not in text


def test_posts_without_label_or_mistake_make_a_page_too(tmp_path: Path) -> None:
    one = judged(tmp_path, sarcasm=False)
    one.answers["fused"].of["sentiment"][:] = np.eye(3)[one.labels["sentiment"]]
    text = page_of(one)
    assert "Every answer is right." in text
    assert Page(text).open == []
    one.labels["sentiment"][:] = -1
    assert "nothing to measure" in page_of(one)


def test_lone_surrogates_and_a_full_disk_leave_no_half_page(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "a \ud800 b")
    assert (tmp_path / "report.html").read_text() == "a ? b"
    with pytest.raises(DataError, match="cannot be written"):
        write_report(tmp_path / "nowhere" / "report.html", "a")


def test_the_area_under_precision_and_recall_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    truth = random.random(300) < 0.3
    scores = np.round(random.random(300) + 0.3 * truth, 1)  # many ties
    curve = precision_recall(scores, truth)
    assert average_precision(curve) == pytest.approx(average_precision_score(truth, scores))


def test_the_auc_is_that_of_scikit_learn_with_an_interval_around_it() -> None:
    random = np.random.default_rng(4)
    truth = random.random(400) < 0.3
    scores = np.round(random.random(400) + 0.2 * truth, 1)
    found = auc(scores, truth)
    assert found is not None
    assert found["value"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["low"] < found["value"] < found["high"]
    assert auc(scores, np.ones(400, bool)) is None


def test_disagreement_needs_words_and_picture(tmp_path: Path) -> None:
    scores = conflict_scores(judged(tmp_path))
    for values in scores.values():
        assert np.isnan(values[:6]).all()
        assert ((values[6:] >= 0) & (values[6:] <= 1)).all()


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 3, 500)
    better = random.dirichlet(np.ones(3), 500) + 0.2 * np.eye(3)[labels]
    better /= better.sum(axis=1, keepdims=True)
    worse = better.copy()
    worse[:25] = np.roll(np.eye(3)[labels[:25]], 1, axis=1)
    found = compare(better, worse, labels, SENTIMENTS)["accuracy"]
    alone = measure(better, labels, SENTIMENTS)
    other = measure(worse, labels, SENTIMENTS)
    assert alone is not None
    assert other is not None
    difference = alone["accuracy"]["value"] - other["accuracy"]["value"]
    assert found["value"] == pytest.approx(difference)
    assert 0 < found["low"] < found["value"] < found["high"]
    width = alone["accuracy"]["high"] - alone["accuracy"]["low"]
    assert found["high"] - found["low"] < width
