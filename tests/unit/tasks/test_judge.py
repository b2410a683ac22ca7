"""Nothing is computed that is known, and every post still gets its own verdict."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deadpan.core.errors import ImageError
from models.posts.images import PictureFile
from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from sources.post import FetchFailure
from storage.base.database import transaction
from storage.keeping import erasure
from tasks.policy.looks import Looks
from tests.unit.tasks.bench import Bench, jpeg

POLICY = '[[rules]]\nname = "all"\nwhen = "sarcasm >= 0.0"\nqueue = "q"\npriority = 1\n'
QUIET = '[[rules]]\nname = "none"\nwhen = "sarcasm >= 1.0"\nqueue = "q"\npriority = 1\n'


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("mini", device="cpu", feature_cache_bytes=2**20)


@pytest.fixture
def bench(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Without flags."""
    made = Bench(tmp_path, classifier, monkeypatch, QUIET)
    yield made
    made.database.dispose()


@pytest.fixture
def flagging(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Every post is flagged."""
    made = Bench(tmp_path, classifier, monkeypatch, POLICY)
    yield made
    made.database.dispose()


@pytest.fixture
def asking(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A post is flagged when something of it was not read."""
    rule = '[[rules]]\nname = "unread"\nwhen = "unread >= 1"\nqueue = "unread"\npriority = 1\n'
    made = Bench(tmp_path, classifier, monkeypatch, rule)
    yield made
    made.database.dispose()


def test_an_unchanged_post_is_neither_decoded_nor_judged(bench: Bench) -> None:
    bench.source.posts = {"a": ("words", [jpeg("red"), b"broken"]), "b": ("other", [])}
    assert len(bench.chunk("a", "b").verdicts) == 2
    again = bench.chunk("a", "b", "c")
    assert bench.done == {"decoded": 0, "prepared": 0, "predicted": 0}
    assert (again.unchanged, len(again.verdicts), len(again.gone)) == (2, 0, 1)
    bench.source.posts["a"] = ("words", [jpeg("blue"), b"broken"])
    changed = bench.chunk("a", "b")
    assert (changed.unchanged, [v.post_id for v in changed.verdicts]) == (1, ["a"])
    assert bench.done["predicted"] == 1


def test_identical_posts_of_a_chunk_are_judged_once_and_have_a_verdict_each(bench: Bench) -> None:
    bench.source.posts = {f"p{n}": ("the same", [jpeg("green")]) for n in range(10)}
    bench.source.posts["other"] = ("another", [jpeg("green")])
    outcomes = bench.chunk(*bench.source.posts)
    assert bench.done["predicted"] == 2
    assert bench.done["decoded"] <= 1
    assert outcomes.repeated == 9
    same = [v for v in outcomes.verdicts if v.post_id != "other"]
    assert {v.post_id for v in same} == {f"p{n}" for n in range(10)}
    assert len({(v.negative, v.sarcasm, v.content_hash) for v in same}) == 1


def test_a_copied_post_is_not_judged_again_and_stays_degraded(bench: Bench) -> None:
    bench.source.posts = {"a": ("copied", [jpeg("red"), b"broken", None])}
    (first,) = bench.chunk("a").verdicts
    bench.source.posts = {"b": ("copied", [jpeg("red"), b"broken", None])}
    (second,) = bench.chunk("b").verdicts
    assert bench.done == {"decoded": 0, "prepared": 0, "predicted": 0}
    assert (second.negative, second.image_alone) == (first.negative, first.image_alone)
    assert [d["image"] for d in second.degraded] == [1, 2]
    assert [d["location"] for d in second.degraded] == ["b/1", "b/2"]
    assert [d["problem"] for d in second.degraded] == [d["problem"] for d in first.degraded]
    assert "404" in str(second.degraded[1]["problem"])


def test_what_was_not_read_is_said_of_a_copy_too_and_a_rule_may_ask_for_it(
    asking: Bench,
) -> None:
    long = "The committee met on Tuesday. " * 400
    asking.source.posts = {"a": (long, []), "short": ("a fine day", [])}
    verdicts = {each.post_id: each for each in asking.chunk("a", "short").verdicts}
    (unread,) = verdicts["a"].unread
    assert unread["what"] == "text"
    assert str(unread["problem"]).startswith("cut after ")
    assert str(unread["problem"]).endswith(f" of {len(long)} characters")
    assert (list(verdicts["short"].unread), verdicts["short"].flag) == ([], None)
    assert verdicts["a"].flag is not None
    asking.source.posts = {"b": (long, [])}
    (copied,) = asking.chunk("b").verdicts
    assert asking.done["predicted"] == 0
    assert copied.unread == verdicts["a"].unread
    assert copied.flag is not None


def test_a_post_in_a_language_that_the_model_never_learnt_is_marked_and_may_be_flagged(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    when = "language == tr and unlearnt >= 1"
    rule = f'[[rules]]\nname = "x"\nwhen = "{when}"\nqueue = "x"\npriority = 1\n'
    bench = Bench(tmp_path, classifier, monkeypatch, rule)
    bench.source.language = None
    turkish, english = (
        "Bugün hava çok güzel, hadi dışarı çıkalım",
        "It is a fine day, let us go out",
    )
    bench.source.posts = {"tr": (turkish, []), "en": (english, []), "none": ("😀", [])}
    verdicts = {each.post_id: each for each in bench.chunk(*bench.source.posts).verdicts}
    told = {name: (each.language, each.unlearnt) for name, each in verdicts.items()}
    assert told == {"tr": ("tr", True), "en": ("en", False), "none": (None, False)}
    assert [name for name, each in verdicts.items() if each.flag] == ["tr"]
    assert verdicts["tr"].flag is not None
    assert verdicts["tr"].flag.language == "tr"
    # what the platform states goes first, and the same words in another language are judged anew
    bench.source.language = "en-GB"
    (again,) = bench.chunk("tr").verdicts
    assert (again.language, again.unlearnt, again.flag) == ("en", False, None)
    assert again.content_hash != verdicts["tr"].content_hash
    bench.database.dispose()


def test_the_end_of_a_long_post_is_judged_with_its_neighbours(bench: Bench) -> None:
    calm = "The committee met on Tuesday and went through the agenda item by item. " * 20
    bench.source.posts = {
        "calm": (calm, []),
        "end": (calm + "I hate this, everything is horrible", []),
        "short": ("a fine day", []),
    }
    verdicts = {each.post_id: each for each in bench.chunk(*bench.source.posts).verdicts}
    assert verdicts["calm"].negative < 0.2
    assert verdicts["end"].negative > 0.6
    assert not any(each.unread for each in verdicts.values())


def test_evidence_of_a_flagged_post_is_kept_although_its_picture_was_known(
    flagging: Bench,
) -> None:
    picture = jpeg("purple")
    flagging.source.posts = {"a": ("one", [picture])}
    (first,) = flagging.chunk("a").verdicts
    assert first.flag is not None
    assert first.flag.text == "one"
    assert first.flag.language == "en"
    # The same picture in another post, and the same post under another id.
    flagging.source.posts = {"b": ("two", [picture]), "c": ("one", [picture])}
    outcomes = flagging.chunk("b", "c")
    assert flagging.done["decoded"] == 0
    assert flagging.done["predicted"] == 1
    for verdict in outcomes.verdicts:
        kinds = {one["kind"]: one["sha256"] for one in verdict.evidence}
        assert set(kinds) == {"original_text", "text", "image"}
        with Image.open(io.BytesIO(flagging.evidence.get(kinds["image"]))) as image:
            assert image.size == (64, 48)
        assert flagging.evidence.get(kinds["text"]).decode() in ("one", "two")
    assert {e["sha256"] for e in first.evidence if e["kind"] == "image"} == {
        e["sha256"] for v in outcomes.verdicts for e in v.evidence if e["kind"] == "image"
    }


def test_a_post_that_breaks_the_model_takes_only_its_copies_with_it(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = classifier.predict

    def fragile(posts: Sequence[PreparedPost], *kept: Any) -> Any:
        if any("poison" in post.text for post in posts):
            raise RuntimeError("the model breaks")
        return predict(posts, *kept)

    monkeypatch.setattr(classifier, "predict", fragile)
    bench.source.posts = {f"p{n}": (f"fine {n}", []) for n in range(5)}
    bench.source.posts |= {"x": ("poison", []), "y": ("poison", [])}
    outcomes = bench.chunk(*bench.source.posts)
    assert len(outcomes.verdicts) == 5
    assert {retry.entry.id_bytes for retry in outcomes.retries} == {b"x", b"y"}
    assert {x.post_id for x in bench.chunk("x", "y", attempts=2).dead_letters} == {"x", "y"}


def test_a_picture_that_may_come_yet_costs_no_try_and_is_looked_for_again(bench: Bench) -> None:
    bench.source.posts = {"a": ("look", [jpeg("navy"), None]), "b": ("words", [])}
    bench.source.may_come = True
    outcomes = bench.chunk("a", "b", attempts=1)
    assert [verdict.post_id for verdict in outcomes.verdicts] == ["a", "b"]
    assert [each["image"] for each in outcomes.verdicts[0].degraded] == [1]
    assert [entry.id_bytes for entry in outcomes.revisits] == [b"a"]
    assert (outcomes.retries, outcomes.dead_letters) == ([], [])

    again = bench.chunk("a", name="c.revisits")
    assert (again.unchanged, again.verdicts) == (1, [])
    assert [entry.id_bytes for entry in again.revisits] == [b"a"]

    bench.source.posts["a"] = ("look", [jpeg("navy"), jpeg("red")])
    (verdict,) = bench.chunk("a", name="c.revisits").verdicts
    assert verdict.degraded == []
    assert bench.chunk("a", name="c.revisits").revisits == [], "it came"


def test_a_picture_that_is_gone_for_good_is_not_looked_for_again(bench: Bench) -> None:
    bench.source.posts = {"a": ("look", [None])}
    assert bench.chunk("a").revisits == []


def test_what_fails_when_a_post_is_looked_at_again_leaves_it_as_it_is(bench: Bench) -> None:
    bench.source.failures = {
        "later": FetchFailure("later", "it answered 500", transient=True),
        "never": FetchFailure("never", "a field of the wrong type", transient=False),
    }
    outcomes = bench.chunk("later", "never", "gone", attempts=99, name="c.revisits")
    assert [entry.id_bytes for entry in outcomes.revisits] == [b"later"]
    alone = bench.chunk("later", losses=99, name="c.revisits")  # as if it killed its workers
    assert alone.revisits == []
    for found in (outcomes, alone):
        assert (found.dead_letters, found.gone, found.retries, found.verdicts) == ([], [], [], [])


def test_a_thumbnail_that_cannot_be_made_costs_a_try_and_no_neighbour(
    flagging: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagging.source.posts = {"a": ("one", [jpeg("olive", (640, 480))]), "b": ("two", [])}

    def no_memory(file: PictureFile) -> Any:
        raise ImageError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(PictureFile, "thumbnail", no_memory)
        outcomes = flagging.chunk("a", "b")
    assert [v.post_id for v in outcomes.verdicts] == ["b"]
    assert [retry.entry.id_bytes for retry in outcomes.retries] == [b"a"]
    assert [v.post_id for v in flagging.chunk("a", attempts=1).verdicts] == ["a"]


def test_a_post_that_cannot_be_prepared_does_not_keep_its_neighbours(
    bench: Bench, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = classifier.prepare_all

    def fragile(posts: Sequence[Any], *languages: Any) -> list[PreparedPost]:
        if any(text == "odd" for text, _ in posts):
            raise RuntimeError("a defect")
        return prepare(posts, *languages)

    monkeypatch.setattr(classifier, "prepare_all", fragile)
    bench.source.posts = {"a": ("fine too", []), "b": ("odd", [])}
    outcomes = bench.chunk("a", "b")
    assert [v.post_id for v in outcomes.verdicts] == ["a"]
    assert [retry.entry.id_bytes for retry in outcomes.retries] == [b"b"]


def test_an_erased_post_is_not_even_fetched(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, classifier, monkeypatch, POLICY)
    bench.source.posts = {"1": ("what a day", []), "2": ("what a night", [])}
    with transaction(bench.database) as connection:
        erasure.erase(connection, "post", "1", requested_by="lea")
    asked: list[str] = []
    fetch = bench.source.fetch
    monkeypatch.setattr(bench.source, "fetch", lambda ids: asked.extend(ids) or fetch(ids))
    outcomes = bench.chunk("1", "2")
    assert asked == ["2"]
    assert [(gone.post_id, gone.why) for gone in outcomes.gone] == [("1", erasure.ERASED)]
    assert [verdict.post_id for verdict in outcomes.verdicts] == ["2"]


def test_a_post_that_is_drawn_is_kept_to_be_looked_at_and_flagged_by_nobody(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, classifier, monkeypatch, QUIET, Looks(1, "key"))
    bench.source.posts = {"1": ("a fine day", [jpeg("green")])}
    (verdict,) = bench.chunk("1").verdicts
    assert not verdict.is_flagged
    assert verdict.flag is not None
    assert (verdict.flag.queue, verdict.flag.reasons, verdict.flag.blind) == ("q", [], True)
    assert verdict.flag.inclusion == 1
    assert verdict.evidence
    assert verdict.explanation is None
    bench.database.dispose()
