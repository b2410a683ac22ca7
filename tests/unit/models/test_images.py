"""Pictures from outside: drawn here, and broken here."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deadpan.core.errors import ImageError
from models.posts import images as images_module
from models.posts.images import PictureFile, decode_image
from models.posts.prediction import PreparedImage

RED, BLUE = (200, 30, 30), (30, 30, 200)


def decode(content: bytes, max_pixels: int = 50_000_000) -> PreparedImage:
    return decode_image(content, max_pixels=max_pixels, image_size=224)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def png(width: int, height: int, depth: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    """A PNG that states any size it likes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def looks_like(prepared: PreparedImage, left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    assert prepared.pixels.shape == (224, 224, 3)
    assert prepared.pixels.dtype == np.uint8
    row = prepared.pixels[112].astype(int)
    return bool(
        np.abs(row[30] - np.array(left)).max() < 40
        and np.abs(row[190] - np.array(right)).max() < 40
    )


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("RGB", "PNG"),
        ("RGB", "WEBP"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("P", "GIF"),
    ],
)
def test_every_format_and_mode_shows_the_same_picture(mode: str, kind: str) -> None:
    assert looks_like(decode(encode(picture(mode), kind)), RED, BLUE)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    grey = np.full((40, 60), 100 << 8, dtype=np.uint16)
    grey[:, 30:] = 200 << 8
    content = encode(Image.fromarray(grey), "PNG")
    assert looks_like(decode(content), (100,) * 3, (200,) * 3)


def test_one_bit_and_grey_with_alpha_are_shown() -> None:
    assert decode(encode(picture("1"), "PNG")).pixels.shape == (224, 224, 3)
    assert decode(encode(picture("LA"), "PNG")).pixels.shape == (224, 224, 3)


def test_transparent_parts_become_white() -> None:
    image = picture("RGBA")
    image.paste((0, 0, 0, 0), (30, 0, 60, 40))
    assert looks_like(decode(encode(image, "PNG")), RED, (255,) * 3)
    palette = picture().quantize(2)
    transparent = palette.getpixel((50, 20))
    content = encode(palette, "PNG", transparency=transparent)
    assert looks_like(decode(content), RED, (255,) * 3)


def test_a_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    assert looks_like(decode(encode(picture(), "JPEG", exif=exif)), BLUE, RED)
    exif[0x0112] = 6
    assert decode(encode(picture(), "JPEG", exif=exif)).thumbnail.shape == (60, 40, 3)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 90]
)
def test_a_picture_with_broken_exif_is_still_seen(exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert looks_like(decode(encode(picture(), "JPEG", exif=exif)), RED, BLUE)


@pytest.mark.parametrize(
    ("size", "thumbnail"),
    [
        ((1, 1), (1, 1)),
        ((1, 100_000), (512, 1)),
        ((100_000, 1), (1, 512)),
        ((2000, 1000), (256, 512)),
        ((512, 512), (512, 512)),
    ],
)
def test_any_shape_is_shrunk_to_a_thumbnail(
    size: tuple[int, int], thumbnail: tuple[int, int]
) -> None:
    prepared = decode(encode(Image.new("RGB", size), "PNG"))
    assert prepared.thumbnail.shape == (*thumbnail, 3)
    assert prepared.pixels.shape == (224, 224, 3)


@pytest.mark.parametrize("filters", ["ignore", "error"])
def test_a_bomb_is_refused_by_the_size_it_states_whatever_the_warning_filters(filters: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        with pytest.raises(ImageError, match=r"image is 31000x29000 pixels; the limit is 50000000"):
            decode(png(31000, 29000))
        with pytest.raises(ImageError, match="10000x9500"):
            decode(png(10000, 9500))
        with pytest.raises(ImageError, match=r"60x40 pixels; the limit is 2399 "):
            decode(encode(picture(), "JPEG"), max_pixels=2399)


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_is_refused_before_its_canvas_is_allocated(lossless: bool) -> None:
    content = encode(picture(), "WEBP", lossless=lossless)
    assert looks_like(decode(content, max_pixels=2400), RED, BLUE)
    with pytest.raises(ImageError, match="60x40"):
        decode(content, max_pixels=2399)
    extended = bytearray(encode(picture("RGBA"), "WEBP", exif=b"Exif\0\0x"))
    assert extended[12:16] == b"VP8X"
    extended[24:30] = b"\xff\x3f\0\xff\x3f\0"
    with pytest.raises(ImageError, match="16384x16384"):
        decode(bytes(extended))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_cut_anywhere_is_said_to_be_cut_or_an_image_error(kind: str) -> None:
    content = encode(picture(size=(64, 64)), kind)
    for length in range(0, len(content) - 20, max(1, len(content) // 60)):
        with contextlib.suppress(ImageError):
            assert decode(content[:length]).unread, length


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_flipped_bytes_give_a_picture_or_an_image_error(kind: str) -> None:
    content = encode(picture(size=(64, 64)), kind)
    random = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(content)
        for place in random.integers(0, len(broken), size=3):
            broken[place] = random.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(ImageError):
                decode(bytes(broken), max_pixels=1_000_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"II*\0" + b"\0" * 40,
        b"BM" + b"\0" * 60,
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8?" + b"\0" * 40,
        png(0, 5),
        png(5, 5),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(content: bytes) -> None:
    with pytest.raises(ImageError, match="image"):
        decode(content)


def test_the_same_file_always_gives_the_same_pixels() -> None:
    content = encode(picture(size=(1500, 1100)), "JPEG")
    assert decode(content).sha256 == decode(content).sha256
    assert np.array_equal(decode(content).pixels, decode(content).pixels)


def test_the_thumbnail_is_decoded_only_when_somebody_looks_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []
    original = images_module.pixels_of

    def opening(content: bytes) -> Any:
        opened.append(len(content))
        return original(content)

    monkeypatch.setattr(images_module, "pixels_of", opening)
    prepared = decode(encode(picture(size=(1500, 1100)), "JPEG"))
    assert len(opened) == 1
    assert prepared.thumbnail.shape == (375, 512, 3)
    assert prepared.thumbnail is prepared.thumbnail
    assert len(opened) == 2


@pytest.mark.parametrize("size", [(300, 200), (447, 449), (1100, 1500), (4000, 300)])
def test_decoding_at_reduced_scale_shows_the_same_picture(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    small = Image.fromarray(random.integers(0, 255, size=(9, 12, 3)).astype(np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    whole = np.asarray(
        Image.open(io.BytesIO(encode(image, "JPEG", quality=95))).resize((224, 224))
    ).astype(int)
    reduced = decode(encode(image, "JPEG", quality=95)).pixels.astype(int)
    assert np.abs(whole - reduced).mean() < 1.5


@pytest.mark.parametrize("size", [(60, 40), (447, 300), (448, 300), (900, 700), (100, 2000)])
def test_the_thumbnail_that_comes_with_the_square_is_the_one_made_alone(
    size: tuple[int, int],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = PictureFile(encode(picture(size=size), "JPEG", exif=exif), 10**8, 224)
    (square,), thumbnail, unread = file.decode()
    assert unread is None
    assert np.array_equal(square, file.squares()[0])
    assert (thumbnail is not None) == (max(size) < 448)
    if thumbnail is not None:
        assert np.array_equal(thumbnail, file.thumbnail())
