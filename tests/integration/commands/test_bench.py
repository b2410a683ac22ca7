"""The benchmark: its arithmetic, and two of its rows from end to end on a handful of posts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import paper, report
from benchmarks.bench import run
from benchmarks.measure import MARK, Result, median_stages, percentile
from benchmarks.programs.model import load_classifier
from benchmarks.programs.naive_worker import NaiveModel
from benchmarks.scaling import fill
from benchmarks.workload import WARM_COPY, Workload
from models.posts.prediction import PreparedImage
from models.serving.classifier import Classifier
from storage.base.database import connect, transaction
from storage.judging import queries
from storage.migrations.schema import migrate


def result(row: str, rate: float, **more: object) -> Result:
    made = Result(row, posts=100, seconds=100 / rate, cpu_seconds=2.0)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def three_rounds() -> list[Result]:
    """The second round on a machine half as fast, the third with a peer that failed."""
    results = []
    for speed in (1.0, 0.5, 1.0):
        results += [
            result("limit", 200 * speed),
            result("deadpan", 180 * speed, latencies_ms=[100.0, 200.0, 300.0]),
            result("deadpan, repeated", 720 * speed),
            result("naive", 9 * speed),
            result("litserve", 100 * speed),
            result("ray-serve", 120 * speed),
        ]
    results[-1] = Result("ray-serve", failed="it | ended")
    clocked = {"decode": 0.3, "tokenise": 0.1, "predict": 1.0, "record": 0.02, "other": 0.05}
    return [*results, result("deadpan, by stage", 170, stages=clocked)]


def test_ratios_are_those_of_rows_in_the_same_round() -> None:
    found = {ratio.name: ratio for ratio in report.ratios(three_rounds())}
    assert found["deadpan / limit"].measured == pytest.approx(0.9)
    assert found["deadpan / limit"].standing == "goal"
    assert found["deadpan / naive"].measured == pytest.approx(20)
    assert found["deadpan / naive"].standing == "minimum"
    assert found["deadpan / best peer on the same engine"].measured == pytest.approx(1.5)
    assert found["posts repeated from cache / fresh posts"].measured == pytest.approx(4)
    outside = found["CPU per post outside model, decode and tokeniser"]
    assert outside.measured == pytest.approx(0.7)
    assert outside.standing == "minimum"


def test_a_ratio_without_its_rows_is_not_measured() -> None:
    (first, *_) = report.ratios([result("deadpan", 100)])
    assert first.measured is None
    assert first.standing == "not measured"


def test_a_row_that_failed_is_in_the_table_with_its_reason() -> None:
    failed = Result("celery-batches", failed="celery-batches could not be installed:\nno network")
    written = report.block([*three_rounds(), failed], ["a note"], "images/performance.svg")
    assert "celery-batches could not be installed: no network" in written
    assert "Ray Serve, `@serve.batch` (1 of 3 rounds failed: it / ended)" in written
    assert "| **`deadpan`**: RPUSH to commit | 100 | 180.0 (90.0–180.0) | 20.00 | 200 | 290 |" in (
        written
    )


def test_what_is_around_the_markers_stays() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.between_markers(page, "new") == (
        f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    )
    with pytest.raises(ValueError, match="bench begins"):
        report.between_markers("no markers", "new")


def test_the_page_has_the_markers() -> None:
    page = (Path(__file__).parents[3] / "docs/performance.md").read_text()
    assert report.BEGIN in report.between_markers(page, "")


def test_the_plot_is_xml_and_names_every_row() -> None:
    from xml.etree import ElementTree

    drawn = ElementTree.fromstring(report.plot(three_rounds()))
    words = {element.text for element in drawn.iter() if element.text}
    assert {"limit", "deadpan", "naive", "litserve", "ray-serve", "decode"} <= words


def test_percentiles_lie_between_neighbours() -> None:
    assert percentile([30.0, 10.0, 20.0], 0.5) == 20.0
    assert percentile([0.0, 10.0], 0.95) == pytest.approx(9.5)
    assert median_stages([result("x", 1.0, stages={"decode": 0.5})]) == {"decode": 5.0}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_classifier()


def test_copies_look_the_same_and_are_new_to_every_cache(classifier: Classifier) -> None:
    workload = Workload()
    (original, copy) = (workload.ids(1, "a")[0], workload.ids(1, "a", first_copy=WARM_COPY)[0])
    assert workload.images(original) != workload.images(copy)
    assert workload.text(copy) == f"{workload.text(original)} {WARM_COPY}"
    renamed = f"{original}-again"
    assert workload.images(renamed) == workload.images(original)
    seen = [
        classifier.prepare("", workload.images(post_id)).images[0] for post_id in (original, copy)
    ]
    first, second = seen
    assert isinstance(first, PreparedImage)
    assert isinstance(second, PreparedImage)
    assert first.sha256 != second.sha256
    assert np.array_equal(first.pixels, second.pixels)


def test_the_naive_row_runs_the_same_model(classifier: Classifier) -> None:
    """Padding and precision apart, the article's way says of the best answer what Deadpan says."""
    workload = Workload()
    naive = NaiveModel("mini")
    posts = [
        classifier.prepare(workload.text(post_id), workload.images(post_id))
        for post_id in workload.ids(6, "x")
    ]
    for post, prediction in zip(posts, classifier.predict(posts), strict=True):
        said = naive.predict(post)
        assert (said.text_alone is None) == (prediction.text_alone is None)
        assert (said.image_alone is None) == (prediction.image_alone is None)
        logits = classifier.logits([post])["fused"]["sentiment"][0]
        softmax = np.exp(logits) / np.exp(logits).sum()
        assert list(said.fused.sentiment) == pytest.approx(softmax.tolist(), abs=0.03)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_limit_and_deadpan_run_from_end_to_end_and_leave_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADPAN_EXPLAIN", "off")  # a setting the rows keep; here for speed
    here = psutil.Process()
    before = set(here.children(recursive=True))  # servers that other tests share
    said: list[str] = []
    results = run(
        workload=Workload(),
        rows=["limit", "deadpan", "stages"],
        rounds=1,
        count=6,
        latency_seconds=0.1,
        venvs=tmp_path,
        say=said.append,
    )
    assert [each.failed for each in results] == [""] * len(results), said
    found = {each.row: each for each in results}
    assert found.keys() == {
        "limit",
        "deadpan",
        "deadpan, repeated",
        "deadpan, unchanged",
        "deadpan, by stage",
    }
    assert all(each.posts == 6 and each.rate > 0 for each in results)
    assert found["deadpan"].cpu_ms > 0
    assert len(found["deadpan"].latencies_ms) == 20
    stages = found["deadpan, by stage"].stages_ms
    assert min(stages[name] for name in ("decode", "predict", "record", "queue")) > 0
    assert MARK not in os.environ
    assert {child.name() for child in set(here.children(recursive=True)) - before} == set()


def test_the_estimate_names_the_part_that_breaks_first_and_the_simulation_agrees() -> None:
    chain = (
        paper.Part("fast", 1, 0.0, 0.0001),
        paper.Part("slow", 2, 0.001, 0.002),
    )
    weakest = paper.first_to_break(chain, 64)
    assert weakest.name == "slow"
    limit = 2 * 64 / (0.001 + 64 * 0.002)
    assert weakest.limit(64) == pytest.approx(limit)
    flooded = paper.simulate(
        chain, arrivals=1.5 * limit, chunk_size=64, slots=8, seconds=20.0, seed=1
    )
    assert flooded.posts_per_second == pytest.approx(limit, rel=0.05)
    assert flooded.busy["slow"] > 0.95
    relaxed = paper.simulate(
        chain, arrivals=0.5 * limit, chunk_size=64, slots=8, seconds=20.0, seed=1
    )
    assert relaxed.posts_per_second == pytest.approx(0.5 * limit, rel=0.05)
    assert relaxed.p95 < flooded.p50


def test_a_database_is_filled_with_verdicts_that_are_found(database_url: str) -> None:
    engine = connect(database_url)
    try:
        migrate(engine)
        fill(engine, 25, at_once=10)
        with transaction(engine, read_only=True) as connection:
            assert queries.counts(connection).verdicts == 25
            assert queries.already_judged(
                connection,
                [("p24", "0" * 64), ("p25", "0" * 64)],
                model_version="m",
                calibration_version="c",
                policy_version="p",
            ) == {("p24", "0" * 64)}
    finally:
        engine.dispose()
