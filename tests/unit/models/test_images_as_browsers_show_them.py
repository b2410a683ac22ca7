"""Pictures that every browser shows: cut short, on no ground, or moving. What is judged is seen."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from deadpan.core.errors import ImageError
from models.posts import frames
from models.posts.containers import pixels_of
from models.posts.images import CUT_SHORT, PictureFile, decode_image
from tests.unit.models.test_images import BLUE, RED, decode, encode

Pixels = npt.NDArray[np.uint8]


def photo(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Soft shapes of all colours, with nothing of one colour."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def distance(one: Pixels, other: Pixels) -> float:
    """Mean difference, 0 to 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# ---- cut short


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_without_its_last_two_bytes_is_the_same_picture(options: dict[str, bool]) -> None:
    content = encode(photo(), "JPEG", quality=90, **options)
    whole, cut = decode(content), decode(content[:-2])
    assert np.array_equal(whole.pixels, cut.pixels)
    assert (whole.unread, cut.unread) == (None, CUT_SHORT)


@pytest.mark.parametrize(
    ("kind", "options", "share"),
    [
        ("JPEG", {"quality": 90}, 0.95),
        ("JPEG", {"quality": 90}, 0.5),
        ("JPEG", {"quality": 90, "progressive": True}, 0.8),
        ("PNG", {}, 0.7),
        ("GIF", {}, 0.7),
    ],
)
def test_what_is_there_of_a_cut_picture_is_judged_and_it_says_so(
    kind: str, options: dict[str, object], share: float
) -> None:
    image = photo() if kind != "GIF" else photo().quantize(64)
    content = encode(image, kind, **options)
    whole, cut = decode(content), decode(content[: int(len(content) * share)])
    assert cut.unread == CUT_SHORT
    top = slice(0, int(224 * (share - 0.2)))
    assert distance(whole.pixels[top], cut.pixels[top]) < 12
    assert cut.thumbnail.shape == whole.thumbnail.shape


def test_a_jpeg_with_a_header_and_no_pixels_is_broken() -> None:
    content = encode(photo(), "JPEG")
    start = content.index(b"\xff\xda")
    for length in (start + 14, start + 30):
        with pytest.raises(ImageError, match="cut short or damaged"):
            decode(content[:length])


def test_others_still_hear_that_their_file_is_cut_while_one_is_decoded_leniently() -> None:
    content = encode(photo(), "JPEG")[:-400]
    wrong: list[str] = []

    def strictly() -> None:
        for _ in range(60):
            try:
                Image.open(io.BytesIO(content)).load()
            except OSError:
                continue
            wrong.append("decoded what is cut short")

    def leniently() -> None:
        for _ in range(60):
            assert decode(content).unread == CUT_SHORT

    threads = [threading.Thread(target=work) for work in (strictly, leniently) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- on no ground


def shapes(colour: tuple[int, int, int], mode: str = "RGBA") -> Image.Image:
    """Bars of one colour on a transparent ground."""
    image = Image.new("RGBA", (400, 160), (0, 0, 0, 0))
    for row in range(4):
        image.paste((*colour, 255), (20, 20 + 35 * row, 380 - 60 * row, 40 + 35 * row))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("grey", [0, 60, 128, 200, 240, 255])
def test_a_shape_on_a_transparent_ground_can_be_seen_whatever_its_colour(
    grey: int, mode: str
) -> None:
    if mode == "PA":
        content = encode(shapes((grey,) * 3).quantize(8), "GIF", transparency=0)
        content = encode(Image.open(io.BytesIO(content)).convert("RGBA"), "PNG")
    else:
        content = encode(shapes((grey,) * 3, mode), "PNG")
    decoded = decode(content)
    for seen in (decoded.pixels, decoded.thumbnail):
        assert np.ptp(seen.mean(axis=2)) >= 48


def test_black_and_white_on_a_transparent_ground_can_both_be_seen() -> None:
    image = shapes((255, 255, 255))
    image.paste((0, 0, 0, 255), (20, 20, 380, 40))
    image.paste((0, 0, 0, 255), (20, 55, 380, 75))
    seen = decode(encode(image, "PNG")).thumbnail.mean(axis=2)
    ground = seen[0, 0]
    assert abs(seen[30, 100] - ground) > 48
    assert abs(seen[100, 100] - ground) > 48


def test_a_colour_on_a_transparent_ground_stays_on_white() -> None:
    assert decode(encode(shapes((200, 30, 30)), "PNG")).thumbnail[0, 0].tolist() == [255] * 3


# ---- moving


def film(*images: Image.Image, kind: str = "GIF", **options: object) -> bytes:
    first, *others = images
    return encode(first, kind, save_all=True, append_images=others, duration=200, loop=0, **options)


def moving_kinds(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])(test)


@moving_kinds
def test_several_frames_of_an_animation_are_judged_and_it_says_that_it_moves(kind: str) -> None:
    content = film(*(photo(seed) for seed in range(9)), kind=kind)
    decoded = decode(content)
    assert len(decoded.squares) == frames.MAX_JUDGED
    assert decoded.unread == "it moves: 4 of its 9 frames are judged"
    alone = [decode(encode(photo(seed), "PNG")).pixels for seed in range(9)]
    found = {min(range(9), key=lambda n: distance(alone[n], one)) for one in decoded.squares}
    assert len(found) == frames.MAX_JUDGED
    assert decoded.thumbnail.shape == (2 * 192, 2 * 256, 3), "a sheet of two by two"


@moving_kinds
def test_a_blank_first_frame_hides_nothing(kind: str) -> None:
    blank = Image.new("RGB", (320, 240), "white")
    decoded = decode(film(blank, photo(), photo(), photo(1), kind=kind))
    assert len(decoded.squares) == 2
    alone = decode(encode(photo(), "PNG"))
    assert distance(decoded.pixels, alone.pixels) < 12
    assert decoded.thumbnail.shape == (192, 512, 3), "what was judged, side by side"


@moving_kinds
def test_the_frame_that_differs_is_judged_wherever_it_is(kind: str) -> None:
    for place in (1, 13, 28):
        stills = [photo()] * 29
        stills[place] = photo(5)
        decoded = decode(film(*stills, kind=kind))
        alone = decode(encode(photo(5), "PNG")).pixels
        assert min(distance(one, alone) for one in decoded.squares) < 12, place


def test_what_says_that_it_moves_and_does_not_is_a_picture() -> None:
    decoded = decode(film(photo(), photo(), kind="WEBP", lossless=True))
    assert len(decoded.squares) == 1
    assert decoded.unread is None
    assert decoded.thumbnail.shape[:2] in {(240, 320), (192, 256)}


def test_the_picture_that_a_png_hides_behind_its_animation_is_not_judged() -> None:
    content = film(
        Image.new("RGB", (320, 240), RED), photo(1), photo(2), kind="PNG", default_image=True
    )
    decoded = decode(content)
    red = np.full((224, 224, 3), RED, dtype=np.uint8)
    assert len(decoded.squares) == 2
    assert all(distance(one, red) > 20 for one in decoded.squares)


@moving_kinds
def test_of_a_long_animation_only_so_many_frames_are_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = film(*(photo(seed, (64, 48)) for seed in range(50)), kind=kind)
    assert decode(content).unread == "it moves: 4 of its 50 frames are judged"
    monkeypatch.setattr(frames, "MAX_MORE_PIXELS", 3 * 64 * 48 - 1)
    assert decode(content).unread == "it moves: 3 of its 50 frames are judged"


def test_a_later_frame_of_a_gif_is_not_larger_than_the_limit() -> None:
    content = bytearray(film(photo(1, (64, 48)), photo(2, (64, 48))))
    second = content.rindex(b"\x2c\0\0\0\0")
    content[second + 5 : second + 9] = struct.pack("<HH", 60_000, 60_000)
    assert pixels_of(bytes(content)).width == 60_000
    with pytest.raises(ImageError, match="60000x60000 pixels; the limit is 1000000"):
        decode_image(bytes(content), max_pixels=1_000_000, image_size=224)


def test_an_animation_that_breaks_off_is_judged_as_far_as_it_goes() -> None:
    content = film(*(photo(seed) for seed in range(3)))
    decoded = decode(content[: int(len(content) * 0.6)])
    assert decoded.unread is not None
    assert distance(decoded.pixels, decode(encode(photo(), "PNG")).pixels) < 12


def test_the_end_of_a_gif_may_be_a_million_empty_comments() -> None:
    content = film(photo(1, (64, 48)), photo(2, (64, 48)))[:-1]
    decoded = decode(content + b"\x21\xfe\x01x\0" * 1_000_000 + b"\x3b")
    assert len(decoded.squares) == 2


def test_a_png_that_lies_about_its_frames_is_judged_by_those_it_has() -> None:
    content = bytearray(film(photo(1), photo(2), kind="PNG"))
    at = content.index(b"acTL")
    content[at + 4 : at + 8] = struct.pack(">I", 1_000_000)
    content[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(bytes(content[at : at + 12])))
    assert len(decode(bytes(content)).squares) == 2


def test_marks_on_frames_stand_on_their_sheet() -> None:
    assert frames.on_sheet((0.0, 0.0, 0.5, 1.0), 1) == [(0.0, 0.0, 0.5, 1.0)]
    assert frames.on_sheet((0.0, 0.0, 0.5, 1.0), 2) == [(0.0, 0, 0.25, 1), (0.5, 0, 0.75, 1)]
    assert frames.on_sheet((0.5, 0.5, 1.0, 1.0), 4)[3] == (0.75, 0.75, 1.0, 1.0)


def test_the_sheet_made_alone_is_the_one_that_comes_with_the_squares() -> None:
    file = PictureFile(film(*(photo(seed) for seed in range(5))), 10**8, 224)
    assert np.array_equal(file.thumbnail(), file.decode().thumbnail)
    assert BLUE != RED
