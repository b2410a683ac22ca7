"""Explanations find what was planted, and stay bounded."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deadpan.demo
from models.network.encoders import encoder_folder
from models.network.presets import mini_config
from models.posts.prediction import (
    ImageProblem,
    Prediction,
    PreparedImage,
    PreparedPost,
    Scores,
    Sentiment,
    Window,
)
from models.posts.text import OCR_MARKER, TextPreparer, join_ocr, split_ocr
from models.serving.classifier import Classifier
from models.serving.explain import MAX_WORDS, Explanation, Limits, as_written, explain, score_of


class Watching:
    """Sees "awful" and the brightness of pictures; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[PreparedPost] = []
        self.calls = 0

    def encode(self, joined: str) -> tuple[int, ...]:
        return (1,) if joined.strip() else ()

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        self.calls += 1
        self.asked += posts
        return [self._one(post) for post in posts]

    def _one(self, post: PreparedPost) -> Prediction:
        seen = [image for image in post.images if isinstance(image, PreparedImage)]
        words = self._scores(0.6 if "awful" in post.text else 0.2)
        picture = self._scores(float(seen[0].pixels.mean()) / 255 if seen else 0.0)
        negative = (words.sentiment.negative + picture.sentiment.negative) / 2
        return Prediction(self._scores(negative), words, picture if seen else None)

    @staticmethod
    def _scores(negative: float) -> Scores:
        return Scores(Sentiment(negative, 1.0 - negative, 0.0), negative)


def picture(corner: tuple[int, int] | None = None) -> PreparedImage:
    pixels = np.zeros((224, 224, 3), dtype=np.uint8)
    if corner is not None:
        column, row = corner
        pixels[row * 56 : (row + 1) * 56, column * 56 : (column + 1) * 56] = 255
    return PreparedImage("a" * 64, [pixels], pixels)


def drawn(name: str) -> bytes:
    """A picture of the demo."""
    return (Path(deadpan.demo.__file__).parent / "images" / name).read_bytes()


@pytest.fixture
def prepare() -> TextPreparer:
    return TextPreparer(encoder_folder(mini_config().text), max_tokens=128)


def one(
    model: Watching, post: PreparedPost, name: str, limits: Limits | None = None
) -> Explanation:
    (found,) = explain(model, [post], [name], limits)
    assert found is not None
    return found


def test_the_planted_word_and_region_have_the_greatest_effect() -> None:
    post = PreparedPost("what an awful day", (1,), (picture((2, 1)),))
    found = one(Watching(), post, "sentiment.negative")
    word = max(found.words, key=lambda word: word.effect)
    assert (word.word, post.text[word.start : word.end]) == ("awful", "awful")
    assert word.effect == pytest.approx(0.2)
    assert [other.effect for other in found.words if other is not word] == [0.0] * 3
    region = max(found.regions, key=lambda region: region.effect)
    assert (region.x0, region.y0, region.x1, region.y1) == (0.5, 0.25, 0.75, 0.5)
    assert len(found.regions) == 16
    assert found.disagreement is not None


def test_the_shipped_model_is_moved_by_the_planted_word() -> None:
    model = Classifier.load("mini", device="cpu")
    (found,) = explain(model, [model.prepare("I hate this", [])], ["sentiment.negative"])
    assert found is not None
    assert max(found.words, key=lambda word: word.effect).word == "hate"


def test_a_text_of_ten_thousand_words_is_asked_for_a_bounded_number_of_times() -> None:
    model = Watching()
    text = " ".join(f"word{index}" for index in range(10_000))
    found = one(model, PreparedPost(text, (1,), (picture(), picture())), "sarcasm")
    assert len(model.asked) == 1 + 16 + 16
    assert model.calls == 1
    assert found.words[0].start == 0
    assert len(text[: found.words[-1].end].split()) == MAX_WORDS
    assert all(a.end < b.start for a, b in pairwise(found.words))


def test_words_in_a_picture_stay_marked_when_another_word_is_left_out() -> None:
    model = Watching()
    text = join_ocr("what a day", ["so awful"])
    found = one(model, PreparedPost(text, (1,), ()), "sarcasm")
    assert [word.word for word in found.words] == ["what", "a", "day", "so", "awful"]
    assert all(OCR_MARKER in post.text for post in model.asked)
    assert split_ocr(model.asked[3].text) == ("what a", "so awful")


def test_limits_are_kept() -> None:
    post = PreparedPost("a b c d e f g", (1,), (picture(), picture()))
    model = Watching()
    found = one(model, post, "sarcasm", Limits(runs=3, grid=2, images=2))
    assert [word.word for word in found.words] == ["a b c", "d e f", "g"]
    assert [region.image for region in found.regions] == [0] * 4 + [1] * 4
    found = one(model, post, "sarcasm", Limits(runs=0, grid=0))
    assert found.words == found.regions == ()


def test_only_what_a_score_looks_at_is_left_out() -> None:
    post = PreparedPost("an awful day", (1,), (picture((0, 0)),))
    assert one(Watching(), post, "text_alone.sarcasm").regions == ()
    assert one(Watching(), post, "image_alone.sarcasm").words == ()
    both = one(Watching(), post, "disagreement")
    assert both.words
    assert both.regions


def test_a_score_that_the_post_does_not_have_has_no_explanation() -> None:
    post = PreparedPost("an awful day", (1,), (ImageProblem("gone"),))
    names = ["degraded", "image_alone.sarcasm", "disagreement", "mood"]
    assert explain(Watching(), [post] * 4, names) == [None] * 4
    assert explain(Watching(), [], []) == []


def test_all_posts_share_one_batch() -> None:
    model = Watching()
    posts = [PreparedPost(f"an awful day {index}", (1,), ()) for index in range(5)]
    found = explain(model, posts, ["sarcasm"] * 5)
    assert model.calls == 1
    assert all(one is not None and len(one.words) == 4 for one in found)


def test_a_row_is_json_and_short() -> None:
    post = PreparedPost("an awful day", (1,), (picture((0, 0)),))
    row = one(Watching(), post, "sarcasm", Limits(grid=3)).as_row()
    assert json.loads(json.dumps(row)) == row
    assert row["words"][1] == {"start": 3, "end": 8, "word": "awful", "effect": 0.2}
    assert row["regions"][1]["x0"] == 0.3333


def test_scores_have_the_names_that_policies_know() -> None:
    from tasks.policy.rules import SCORE_NAMES, scores_of

    model = Watching()
    (prediction,) = model.predict([PreparedPost("an awful day", (1,), (picture((0, 0)),))])
    named = scores_of(prediction)
    for name in SCORE_NAMES:
        assert score_of(prediction, name) == (
            None if name in ("degraded", "unread", "unlearnt") else named.get(name)
        )


def test_a_real_picture_is_explained_by_the_shipped_model() -> None:
    model = Classifier.load("mini", device="cpu")
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "navy").save(file, "PNG")
    post = model.prepare("what a day", [file.getvalue()])
    (found,) = explain(model, [post], ["sarcasm"], Limits(grid=2))
    assert found is not None
    assert len(found.regions) == 4
    # a picture of one colour has no part that matters
    assert all(abs(region.effect) < 0.02 for region in found.regions)


def test_every_part_of_every_post_is_left_out_of_its_own_post_only() -> None:
    model = Classifier.load("mini", device="cpu")
    posts = [
        model.prepare("what a day", []),
        model.prepare("", [drawn("burnt_pizza.jpg"), b"broken", drawn("birthday_cake.jpg")]),
        model.prepare("I love it", [drawn("birthday_cake.jpg")] * 2),
    ]
    names = ["sarcasm", "sentiment.negative", "opposition"]
    limits = Limits(images=3)
    together = explain(model, posts, names, limits)
    for post, name, found in zip(posts, names, together, strict=True):
        (alone,) = explain(model, [post], [name], limits)
        assert found is not None
        assert alone is not None
        assert (len(found.words), len(found.regions)) == (len(alone.words), len(alone.regions))
        for part, same in zip(
            (*found.words, *found.regions), (*alone.words, *alone.regions), strict=True
        ):
            assert part.effect == pytest.approx(same.effect, abs=0.05)
    assert {region.image for region in together[1].regions} == {0, 2}  # type: ignore[union-attr]


def test_tokens_are_found_where_they_stand(prepare: TextPreparer) -> None:
    joined = join_ocr("What a DAY", ["so awful"])
    spans = prepare.spans(joined)
    assert len(spans) == len(prepare.encode(joined))
    words = [joined[start:end] for start, end in spans if end > start]
    assert words == ["What", "a", "DAY", "so", "awful"]
    assert prepare.spans("") == [(0, 0), (0, 0)]


def test_of_a_long_text_the_part_that_decided_is_explained_where_it_stands() -> None:
    model = Classifier.load("mini", device="cpu")
    calm = "The committee met on Tuesday and went through the agenda, as it does. " * 20
    text = f"<p>{calm}𝗜 𝗵𝗮𝘁𝗲 you all. {calm}</p>"
    post = model.prepare(text, [])
    assert len(post.windows) > 2
    (prediction,) = model.predict([post])
    assert prediction.fused.windows["sentiment"] not in (0, len(post.windows) - 1)
    (found,) = explain(model, [post], ["sentiment.negative"], predictions=[prediction])
    assert found is not None
    assert found.window is not None
    assert found.value == pytest.approx(prediction.fused.sentiment.negative, abs=0.02)
    assert found.window == post.windows[prediction.fused.windows["sentiment"]].own
    assert all(post.text[word.start : word.end] == word.word for word in found.words)
    assert "I hate you" in post.text[slice(*found.window)]
    row = as_written(found, text).as_row()
    assert row["window"] == {"start": found.window[0], "end": found.window[1]}
    places = [text[slice(*word["original"])] for word in row["words"]]
    assert any("𝗵𝗮𝘁𝗲" in place for place in places)


def test_words_of_a_window_and_in_its_pictures_are_found_in_the_whole_text() -> None:
    model = Watching()
    own, seen = "one two three four five six", "red green blue"
    text = join_ocr(own, [seen])
    begin = len(own) + 1
    windows = (
        Window(join_ocr("one two three", ["red green"]), (1,), (0, 13), (begin, begin + 9)),
        Window(join_ocr("four five six", ["green blue"]), (2,), (14, 27), (begin + 4, begin + 14)),
    )
    post = PreparedPost(text, (1,), (), (), windows)
    scores = Scores(Sentiment(1, 0, 0), 0.5, windows={"sentiment": 0, "sarcasm": 1})
    (found,) = explain(model, [post], ["sarcasm"], predictions=[Prediction(scores, scores, None)])
    assert found is not None
    words = [word.word for word in found.words]
    assert words == ["four", "five", "six", "green", "blue"]
    assert [text[word.start : word.end] for word in found.words] == words
    row = as_written(found, own).as_row()
    assert [word.get("original") for word in row["words"]][3:] == [None, None]
    assert row["words"][0]["original"] == [14, 18]
