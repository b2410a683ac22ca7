"""Whether words are offensive and hateful: judged, recorded, explained; None where nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.serving.classifier import Classifier
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from tests.checkpoints import asked
from tests.unit.tasks.bench import Bench, explained, explainer_of, jpeg

RULE = """[[rules]]
name = "rude"
when = "offensive >= 0.0 and sentiment.negative >= 0.0"
queue = "negative"
priority = 1
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    made = asked(tmp_path_factory.mktemp("model") / "m", "offensive", "hateful")
    return Classifier.load(made.path, device="cpu")


@pytest.fixture
def bench(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    made = Bench(tmp_path, classifier, monkeypatch, RULE)
    monkeypatch.setattr(made.judge, "_explaining", True)
    yield made
    made.database.dispose()


def test_a_verdict_its_flag_and_its_explanation_have_what_the_words_say(
    bench: Bench, classifier: Classifier
) -> None:
    bench.source.posts = {
        "words": ("you are all the same", []),
        "both": ("you are all the same", [jpeg("red")]),
        "picture": ("", [jpeg("red")]),
    }
    found = {
        verdict.post_id: verdict for verdict in bench.chunk("words", "both", "picture").verdicts
    }
    (said,) = classifier.predict([classifier.prepare("you are all the same", [])])
    for name in ("words", "both"):
        assert found[name].offensive == pytest.approx(said.fused.offensive, abs=0.02)
        assert found[name].hateful == pytest.approx(said.fused.hateful, abs=0.02)
    assert (found["picture"].offensive, found["picture"].hateful) == (None, None)
    assert found["picture"].flag is None, "a condition on a score that it does not have"
    explainer = explainer_of(bench, classifier)
    while explainer.explain_one():
        pass
    explanation = explained(bench, "both").explanation
    assert explanation is not None
    assert (explanation["score"], explanation["regions"]) == ("offensive", [])
    assert [each["word"] for each in explanation["words"]] == ["you", "are", "all", "the", "same"]
    assert any(each["effect"] for each in explanation["words"])
    with transaction(bench.database, read_only=True) as connection:
        flags = worklist.page(connection, Filter(), limit=9)
        above = worklist.page(connection, Filter(offensive=1.0), limit=9)
    assert {(each.post_id, each.offensive, each.hateful) for each in flags} == {
        (name, found[name].offensive, found[name].hateful) for name in ("words", "both")
    }
    assert above == []


def test_a_model_that_is_not_asked_leaves_them_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unasked = Classifier.load(asked(tmp_path / "m").path, device="cpu")
    made = Bench(tmp_path, unasked, monkeypatch, RULE)
    made.source.posts = {"words": ("you are all the same", [])}
    (verdict,) = made.chunk("words").verdicts
    made.database.dispose()
    assert (verdict.offensive, verdict.hateful, verdict.flag) == (None, None, None)
