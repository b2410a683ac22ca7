"""Flags are explained after they were written: from the evidence, by whoever is idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import tasks.moderate.explainer
from models.posts.prediction import ImageProblem
from models.serving.classifier import Classifier
from models.serving.explain import explain
from storage.base.database import transaction
from storage.judging import explanations
from storage.keeping import erasure
from storage.tables import explanations as table
from tasks.moderate.explainer import MAX_ATTEMPTS
from tests.unit.tasks.bench import Bench, Hands, explained, explainer_of, jpeg

ALL = '[[rules]]\nname = "all"\nwhen = "sentiment.negative >= 0"\nqueue = "all"\npriority = 1\n'


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("mini", device="cpu")


@pytest.fixture
def bench(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Every post is flagged, and is to be explained."""
    made = Bench(tmp_path, classifier, monkeypatch, ALL)
    monkeypatch.setattr(made.judge, "_explaining", True)
    yield made
    made.database.dispose()


def drawn(name: str) -> bytes:
    return (Path("deadpan/demo/images") / name).read_bytes()


def test_a_flag_is_explained_afterwards_as_the_post_itself_would_be(
    bench: Bench, classifier: Classifier
) -> None:
    text = "What an <b>awful</b> day, I hate it"
    files: list[bytes | None] = [None, drawn("loading.gif"), drawn("burnt_pizza.jpg")]
    bench.source.posts = {"a": (text, files)}
    (verdict,) = bench.chunk("a").verdicts
    assert (verdict.explanation, explained(bench, "a").state) == (None, "pending")
    assert explainer_of(bench, classifier).explain_one()
    row = explained(bench, "a")
    told = row.explanation
    assert row.state == "done"
    assert told is not None

    post = classifier.prepare(text, [each or ImageProblem("gone") for each in files], "en")
    (expected,) = explain(classifier, [post], ["sentiment.negative"])
    assert expected is not None
    assert told["value"] == pytest.approx(expected.value, abs=0.05)
    assert [word["word"] for word in told["words"]] == [word.word for word in expected.words]
    places = [text[slice(*word["original"])] for word in told["words"]]
    assert "awful" in places[2]
    assert {(each["image"], each["x0"], each["y1"]) for each in told["regions"]} == {
        (each.image, each.x0, each.y1) for each in expected.regions
    }
    assert {each["image"] for each in told["regions"]} == {1}, "the first that could be seen"
    for found, wanted in zip(told["regions"], expected.regions, strict=True):
        assert found["effect"] == pytest.approx(wanted.effect, abs=0.05)
    assert not explainer_of(bench, classifier).explain_one(), "there is nothing more to do"


def test_the_same_content_is_explained_once_and_what_somebody_looks_at_comes_first(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counting(model: Any, posts: Any, *rest: Any, **more: Any) -> Any:
        calls.append(posts[0].text)
        return explain(model, posts, *rest, **more)

    monkeypatch.setattr(tasks.moderate.explainer, "explain", counting)
    bench.source.posts = {n: ("so sad", []) for n in "ab"} | {"c": ("look here", [])}
    bench.chunk("a", "b", "c")
    with transaction(bench.database) as connection:
        explanations.want(connection, explained(bench, "c").flag_id)
    hands = Hands()
    hands.held = 1  # busy, but somebody waits
    explainer = explainer_of(bench, classifier, hands)
    assert explainer.explain_one()
    assert not explainer.explain_one(), "the others wait until nothing is in hand"
    hands.held = 0
    assert explainer.explain_one()
    assert explainer.explain_one()
    assert calls == ["look here", "so sad"]
    assert explained(bench, "a").explanation == explained(bench, "b").explanation
    assert explained(bench, "b").state == "done"


def test_a_chunk_that_comes_goes_first_and_the_flag_is_left_as_it_was(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.moderate.explainer, "PATIENCE_SECONDS", 0.2)
    bench.source.posts = {"a": ("what a day", [jpeg("red")])}
    bench.chunk("a")
    hands = Hands()
    predict, passes = classifier.predict, []

    def busy(posts: Any) -> Any:
        passes.append(len(posts))
        hands.held = 1
        return predict(posts)

    monkeypatch.setattr(classifier, "predict", busy)
    explainer = explainer_of(bench, classifier, hands)
    assert not explainer.explain_one()
    assert len(passes) == 1, "one small pass at most after the chunk came"
    row = explained(bench, "a")
    assert (row.state, row.attempts, row.holder) == ("pending", 0, None)
    monkeypatch.setattr(classifier, "predict", predict)
    hands.held = 0
    assert explainer.explain_one()
    assert explained(bench, "a").state == "done"


def test_what_was_erased_or_renewed_in_the_meantime_is_not_explained(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.posts = {"a": ("what a day", []), "b": ("what a night", [])}
    bench.chunk("a", "b")

    def meanwhile(model: Any, posts: Any, *rest: Any, **more: Any) -> Any:
        if posts[0].text == "what a day":
            with transaction(bench.database) as connection:
                erasure.erase(connection, "post", "a", requested_by="lea")
        elif bench.source.posts["b"][0] == "what a night":
            bench.source.posts["b"] = ("what a morning", [])
            bench.chunk("b")
        return explain(model, posts, *rest, **more)

    monkeypatch.setattr(tasks.moderate.explainer, "explain", meanwhile)
    explainer = explainer_of(bench, classifier)
    while explainer.explain_one():
        pass
    with transaction(bench.database, read_only=True) as connection:
        rows = connection.execute(table.select()).all()
    assert len(rows) == 1, "nothing is left of what was erased"
    told = explained(bench, "b").explanation
    assert told is not None
    assert [word["word"] for word in told["words"]] == ["what", "a", "morning"]


def test_what_cannot_be_explained_says_why_after_a_bounded_number_of_tries(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.posts = {"a": ("one day", []), "b": ("two days", []), "c": ("three days", [])}
    _, of_b, _ = bench.chunk("a", "b", "c").verdicts
    bench.evidence.delete(of_b.evidence[0]["sha256"])
    with transaction(bench.database) as connection:
        # as where each worker that tried was killed
        mine = table.c.flag_id == explained(bench, "c").flag_id
        connection.execute(update(table).where(mine).values(attempts=MAX_ATTEMPTS))

    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(tasks.moderate.explainer, "explain", broken)
    monkeypatch.setattr(tasks.moderate.explainer, "_RETRY_SECONDS", 0.0)
    explainer = explainer_of(bench, classifier)
    tries = 0
    while explainer.explain_one():
        tries += 1
    assert tries == MAX_ATTEMPTS + 2
    for name, error in (("a", "a defect"), ("b", "is not in"), ("c", "ended 4 times")):
        row = explained(bench, name)
        assert row.state == "failed"
        assert error in (row.error or "")


def test_a_flag_of_a_model_that_nobody_has_says_so(bench: Bench, classifier: Classifier) -> None:
    bench.source.posts = {"a": ("one day", [])}
    bench.chunk("a")
    with transaction(bench.database) as connection:
        connection.execute(update(table).values(model_version="mini-0"))
    assert not explainer_of(bench, classifier).explain_one()
    for there in (["mini-0", "mini-1"], ["mini-1"]):
        assert explained(bench, "a").state == "pending"
        with transaction(bench.database) as connection:
            explanations.give_up(connection, model_versions=there, older_than_seconds=0.0)
    row = explained(bench, "a")
    assert (row.state, row.error) == (
        "failed",
        "the model that judged it, mini-0, is run by no worker any more",
    )


def test_the_thread_explains_and_ends_at_once(bench: Bench, classifier: Classifier) -> None:
    bench.source.posts = {"a": ("one day", [])}
    bench.chunk("a")
    explainer = explainer_of(bench, classifier)
    explainer.start()
    done = threading.Event()
    for _ in range(600):
        if explained(bench, "a").state == "done":
            done.set()
            break
        threading.Event().wait(0.05)
    explainer.stop()
    assert done.is_set()
    assert not explainer._thread.is_alive()
