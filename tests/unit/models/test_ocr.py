"""Words inside pictures: read in order, remembered, and never a reason to fail."""

from __future__ import annotations

import importlib
from io import BytesIO
from threading import Thread

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from deadpan.core.errors import ModelError
from models.network.encoders import encoder_folder
from models.network.presets import mini_config
from models.posts.ocr import MAX_CHARACTERS, Reader, Reading
from models.posts.recent import RecentlyUsed
from models.posts.text import TextPreparer
from models.serving.preprocessing import Preparer


def picture(*words: str, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Black words on white, one line below the other."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(words):
        draw.text((20, 30 + 80 * index), line, fill="black", font=ImageFont.load_default(32))
    return image


@pytest.fixture(scope="module")
def reader() -> Reader:
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    return Reader()


class Typist(Reader):
    """Says what it is told instead of reading, and counts."""

    def __init__(self, text: str, is_cut: bool = False) -> None:
        self._known = RecentlyUsed(100)
        self.said = Reading(text, is_cut)
        self.count = 0

    def _read(self, image: object) -> Reading:
        self.count += 1
        return self.said


def test_lines_are_read_from_top_to_bottom(reader: Reader) -> None:
    found = reader.reading(picture("LIVING MY", "BEST LIFE", "said nobody ever"))
    assert found == ("LIVING MY BEST LIFE said nobody ever", False)


def test_what_stands_side_by_side_is_read_from_left_to_right(reader: Reader) -> None:
    image = picture("", "below", size=(500, 200))
    draw = ImageDraw.Draw(image)
    draw.text((300, 30), "RIGHT", fill="black", font=ImageFont.load_default(32))
    draw.text((20, 34), "LEFT", fill="black", font=ImageFont.load_default(32))
    assert reader.read(image) == "LEFT RIGHT below"


def test_arrays_and_other_modes_say_the_same(reader: Reader) -> None:
    image = picture("oh great")
    for same in (np.asarray(image), image.convert("L"), image.convert("RGBA")):
        assert reader.read(same) == "oh great"


@pytest.mark.parametrize("size", [(1, 1), (512, 1), (1, 512), (300, 200)])
def test_a_picture_without_words_has_no_text(reader: Reader, size: tuple[int, int]) -> None:
    assert reader.read(Image.new("RGB", size, "white")) == ""


def test_noise_has_no_text(reader: Reader) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    assert reader.read(noise) == ""


def test_a_page_full_of_small_print_is_cut(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    recognise = reader._recognise
    lines: list[object] = []

    def recognised(crops: list[object]) -> object:
        lines.extend(crops)
        return recognise(crops)

    monkeypatch.setattr(reader, "_recognise", recognised)
    image = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(image)
    for y in range(0, 512, 12):
        draw.text((0, y), "small print that nobody reads " * 5, "black", ImageFont.load_default(10))
    found = reader.reading(image)
    assert 0 < len(found.text) <= MAX_CHARACTERS
    assert found.is_cut
    assert len(lines) < 20


def test_an_engine_that_fails_costs_the_words_and_nothing_else(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(pixels: object) -> None:
        raise RuntimeError("the engine broke")

    monkeypatch.setattr(reader, "_detect", fail)
    assert reader.read(picture("words")) == ""
    assert "the engine broke" in caplog.text


def test_several_threads_read_what_one_reads(reader: Reader) -> None:
    images = {word: picture(word) for word in ("first words", "second words", "third words")}
    read: dict[str, str] = {}

    def work(word: str) -> None:
        read[word] = reader.read(images[word])

    threads = [Thread(target=work, args=(word,)) for word in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == {word: word for word in images}


def test_a_picture_is_read_once() -> None:
    typist = Typist("words")
    image = picture("words")
    for _ in range(3):
        assert typist.read(image, sha256="aa") == "words"
    assert typist.count == 1
    typist.read(image, sha256="bb")
    typist.read(image)
    assert typist.count == 3


def test_what_was_not_asked_for_the_longest_is_forgotten() -> None:
    known: RecentlyUsed[str] = RecentlyUsed(2)
    for key in ("a", "b"):
        known.add(key, key)
    known.of(["a"])
    known.add("c", "c")
    assert known.of("abc") == {"a": "a", "c": "c"}


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str) -> object:
        if name == "rapidocr":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModelError, match=r"pip install 'deadpan\[ocr\]'"):
        Reader()


def test_words_in_pictures_join_the_words_of_their_post() -> None:
    config = mini_config()
    text = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    typist = Typist("BEST life")
    file = BytesIO()
    picture("BEST life").save(file, "PNG")
    content = file.getvalue()
    for reads, expected in ((None, "my kitchen"), (typist, "my kitchen\nBEST life")):
        prepare = Preparer(text, image_size=32, max_image_pixels=10**6, ocr=reads)
        post = prepare("my kitchen", [content, b"not a picture", content])
        assert post.text == expected
        assert post.token_ids == text.encode(expected)
    assert typist.count == 1


def test_a_verdict_says_when_a_picture_holds_more_words_than_are_read() -> None:
    config = mini_config()
    text = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    file = BytesIO()
    picture("a page").save(file, "PNG")
    images = [b"not a picture", file.getvalue()]
    for is_cut in (False, True):
        typist = Typist("a page", is_cut)
        prepare = Preparer(text, image_size=32, max_image_pixels=10**6, ocr=typist)
        found = [each.as_row() for each in prepare("my kitchen", images).unread]
        problem = "of the words in it, the largest are read, at most 600 characters"
        assert found == [{"what": "image", "index": 1, "problem": problem}] * is_cut
