"""Predictions: one for every post, the same in any company."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deadpan.core.errors import ModelError
from models.engines import torch_engine
from models.posts.images import PictureFile
from models.posts.prediction import ImageProblem, Prediction, PreparedImage, PreparedPost, Scores
from models.serving.classifier import Classifier
from models.serving.explain import explain
from models.serving.preprocessing import READING_VERSION
from models.training.run import TrainingResult


@pytest.fixture(scope="module")
def classifier(trained: TrainingResult) -> Classifier:
    return Classifier.load(trained.path, device="cpu")


def png(colour: str, size: tuple[int, int] = (40, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def numbers(prediction: Prediction) -> list[float]:
    scores: list[Scores] = [
        one
        for one in (prediction.fused, prediction.text_alone, prediction.image_alone)
        if one is not None
    ]
    return [number for one in scores for number in (*one.sentiment, one.sarcasm)]


def test_no_posts_have_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


def test_a_prediction_does_not_depend_on_its_batch(classifier: Classifier) -> None:
    random = np.random.default_rng(0)
    posts = []
    for index in range(70):
        words = " ".join(["what a wonderful awful day"] * int(random.integers(0, 20)))
        images = [png(f"hsl({index * 5},80%,50%)")] * int(random.integers(0, 3))
        posts.append(classifier.prepare(words, images))
    together = classifier.predict(posts)
    assert len(together) == 70
    for index in range(0, 70, 7):
        alone = classifier.predict([posts[index]])[0]
        assert numbers(alone) == pytest.approx(numbers(together[index]), abs=0.01)
    backwards = classifier.predict(posts[::-1])[::-1]
    for forward, backward in zip(together, backwards, strict=True):
        assert numbers(forward) == pytest.approx(numbers(backward), abs=0.01)


def test_probabilities_sum_to_one(classifier: Classifier) -> None:
    (prediction,) = classifier.predict([classifier.prepare("so happy", [png("white")])])
    for scores in (prediction.fused, prediction.text_alone, prediction.image_alone):
        assert scores is not None
        assert sum(scores.sentiment) == pytest.approx(1.0)
        assert 0.0 <= scores.sarcasm <= 1.0


def test_what_is_missing_has_no_read_out(classifier: Classifier) -> None:
    text, image, nothing, broken = classifier.predict(
        [
            classifier.prepare("so happy", []),
            classifier.prepare("", [png("white")]),
            classifier.prepare("", []),
            classifier.prepare("\0", [b"broken"]),
        ]
    )
    assert text.image_alone is None
    assert text.text_alone is not None
    assert numbers(text)[:4] == pytest.approx(numbers(text)[4:])
    assert image.text_alone is None
    assert image.image_alone is not None
    assert nothing.text_alone is nothing.image_alone is None
    assert numbers(nothing) == pytest.approx(numbers(broken))


def test_a_broken_picture_degrades_the_post_to_its_text(classifier: Classifier) -> None:
    problem = ImageProblem("host answered 404")
    post = classifier.prepare("so happy", [b"broken", png("red"), problem])
    assert isinstance(post.images[0], ImageProblem)
    assert "is not a JPEG" in post.images[0].problem
    assert not isinstance(post.images[1], ImageProblem)
    assert post.images[2] is problem
    (prediction,) = classifier.predict([post])
    assert prediction.image_alone is not None


def test_a_picture_above_the_limit_is_a_problem_of_its_post(trained: TrainingResult) -> None:
    small = Classifier.load(trained.path, device="cpu", max_image_pixels=100)
    (image,) = small.prepare("a", [png("red")]).images
    assert isinstance(image, ImageProblem)
    assert "40x40 pixels; the limit is 100" in image.problem


def test_a_picture_posted_many_times_is_computed_once(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = classifier._engine.encode_images

    def counting(pixels: list[np.ndarray], **more: Any) -> object:
        seen.append(len(pixels))
        return encode(pixels, **more)

    monkeypatch.setattr(classifier._engine, "encode_images", counting)
    posts = [classifier.prepare(str(index), [png("red"), png("red")]) for index in range(9)]
    classifier.predict(posts)
    assert seen == [1]


def test_several_threads_get_their_own_answers(classifier: Classifier) -> None:
    texts = [f"{word} day {index}" for index in range(8) for word in ("happy", "awful")]
    expected = classifier.predict([classifier.prepare(text, []) for text in texts])
    found: dict[int, Prediction] = {}

    def judge(index: int) -> None:
        found[index] = classifier.predict([classifier.prepare(texts[index], [])])[0]

    threads = [threading.Thread(target=judge, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, prediction in enumerate(expected):
        assert numbers(found[index]) == pytest.approx(numbers(prediction), abs=0.01)


def test_without_bfloat16_the_answers_are_nearly_the_same(
    classifier: Classifier, trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_bf16", lambda: False)
    plain = Classifier.load(trained.path, device="cpu")
    post = classifier.prepare("so happy today", [png("white")])
    assert numbers(plain.predict([post])[0]) == pytest.approx(
        numbers(classifier.predict([post])[0]), abs=0.05
    )


def test_the_model_says_what_it_is_and_can_be_warmed(
    classifier: Classifier, trained: TrainingResult
) -> None:
    classifier.warm()
    info = classifier.info
    assert (info.name, info.version) == ("toy", f"{trained.version}+read{READING_VERSION}")
    assert (info.device, info.engine, info.calibration_version) == ("cpu", "torch", "none")


def test_a_device_that_is_not_there_is_refused(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="set DEADPAN_DEVICE to auto or cpu"):
        Classifier.load(trained.path, device="cuda")
    with pytest.raises(ModelError, match="'tpu'"):
        Classifier.load(trained.path, device="tpu")
    assert Classifier.load(trained.path, device="auto").info.device == "cpu"


def test_an_empty_prepared_post_is_judged(classifier: Classifier) -> None:
    assert len(classifier.predict([PreparedPost("", (), ())])) == 1


class Shelf:
    """A store in a dictionary, shared by two classifiers as Redis would be."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def load(self, names: Iterable[str], size: int) -> dict[str, bytes]:
        return {name: self.values[name] for name in names if name in self.values}

    def save(self, values: Mapping[str, bytes], size: int) -> None:
        self.values |= values


def count_work(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts pictures decoded and encoded from now on."""
    done = {"decoded": 0, "encoded": 0}
    encode = classifier._engine.encode_images
    square = PictureFile.decode

    def encoding(pixels: list[np.ndarray], **more: Any) -> object:
        done["encoded"] += len(pixels)
        return encode(pixels, **more)

    def decoding(file: PictureFile) -> object:
        done["decoded"] += 1
        return square(file)

    monkeypatch.setattr(classifier._engine, "encode_images", encoding)
    monkeypatch.setattr(PictureFile, "decode", decoding)
    return done


@pytest.mark.parametrize("tier", ["memory", "store"])
def test_a_picture_that_was_seen_before_is_neither_decoded_nor_encoded_and_counts_the_same(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    shelf = Shelf()
    options: dict[str, Any] = (
        {"feature_cache_bytes": 2**20} if tier == "memory" else {"feature_store": shelf}
    )
    first = Classifier.load(trained.path, device="cpu", **options)
    plain = Classifier.load(trained.path, device="cpu")
    again = first if tier == "memory" else Classifier.load(trained.path, device="cpu", **options)
    done = count_work(again, monkeypatch)
    posts = [("so happy", [png("red"), b"broken"]), ("awful", [png("navy"), png("red")])]
    fresh = first.predict(first.prepare_all(posts))
    done |= {"decoded": 0, "encoded": 0}
    prepared = again.prepare_all(posts)
    assert isinstance(prepared[0].images[1], ImageProblem), "a broken picture stays a problem"
    cached = again.predict(prepared)
    # The broken one is tried anew, because only what could be decoded has features.
    assert done == {"decoded": 1, "encoded": 0}
    known = prepared[0].images[0]
    assert isinstance(known, PreparedImage)
    assert known.thumbnail.shape == (40, 40, 3), "evidence is decoded when it is asked for"
    for one, other, bare in zip(
        fresh, cached, plain.predict(plain.prepare_all(posts)), strict=True
    ):
        assert numbers(other) == pytest.approx(numbers(one), abs=0.01)
        assert numbers(bare) == pytest.approx(numbers(one), abs=0.01)


def test_pictures_are_known_to_models_with_the_same_limit_only(trained: TrainingResult) -> None:
    shelf = Shelf()
    large = Classifier.load(trained.path, device="cpu", feature_store=shelf)
    large.predict([large.prepare("a", [png("red")])])
    assert len(shelf.values) == 1
    small = Classifier.load(trained.path, device="cpu", feature_store=shelf, max_image_pixels=100)
    (image,) = small.prepare("a", [png("red")]).images
    assert isinstance(image, ImageProblem)


def test_an_explanation_of_a_known_picture_adds_nothing_to_the_cache(
    trained: TrainingResult,
) -> None:
    shelf = Shelf()
    model = Classifier.load(
        trained.path, device="cpu", feature_cache_bytes=2**20, feature_store=shelf
    )
    for _ in range(2):
        post = model.prepare("so happy today", [png("red")])
        model.predict([post])
        (found,) = explain(model, [post], ["sentiment.negative"])
        assert found is not None
        assert len(found.regions) == 16
    assert len(shelf.values) == 1


def test_posts_prepared_together_are_as_prepared_alone(classifier: Classifier) -> None:
    posts: list[tuple[str, list[bytes | ImageProblem]]] = [
        (f"day {index} \U0001f600", [png(f"hsl({index * 9},80%,50%)")] * (index % 3))
        for index in range(20)
    ]
    posts += [("", []), ("\0", [b"broken", ImageProblem("404")])]
    for (text, images), together in zip(posts, classifier.prepare_all(posts), strict=True):
        alone = classifier.prepare(text, images)
        assert (alone.text, alone.token_ids) == (together.text, together.token_ids)
        for one, other in zip(alone.images, together.images, strict=True):
            if isinstance(one, PreparedImage):
                assert isinstance(other, PreparedImage)
                assert np.array_equal(one.pixels, other.pixels)
            else:
                assert one == other
