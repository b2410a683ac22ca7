"""Pictures that nobody means well with: each has one outcome, at a bounded cost."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from deadpan.core.errors import ImageError
from models.posts import images
from models.posts.containers import MAX_PARTS, MAX_SCANS, orientation_of, pixels_of
from models.posts.images import PictureFile
from tests.hostile import pictures as make

EMPTY_SEGMENT = make.segment(0xFE, b"")
EMPTY_CHUNK = make.png_chunk(b"abCd", b"")
EMPTY_COMMENT = b"\x21\xfe\x01a\0"


def square(content: bytes, max_pixels: int = 50_000_000) -> np.ndarray:
    return PictureFile(content, max_pixels, 32).squares()[0]


def shows_the_picture(content: bytes) -> bool:
    row = square(content)[16].astype(int)
    red, blue = np.array([200, 30, 30]), np.array([30, 30, 200])
    return bool(np.abs(row[4] - red).max() < 60 and np.abs(row[27] - blue).max() < 60)


@pytest.mark.parametrize("name", make.good())
def test_metadata_however_broken_or_large_does_not_hide_the_picture(name: str) -> None:
    # Pillow would warn of some of it, and a warning is an error here: it never gets to see it.
    content = make.good()[name]
    if name == "jpeg_grey_exif":
        assert b"Exif" not in pixels_of(content).content
    assert shows_the_picture(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "not a JPEG, PNG, WebP or"),
        (b"<?xml version='1.0'?><svg/>", "not a JPEG, PNG, WebP or GIF"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not a JPEG, PNG, WebP or GIF"),
        (b"\xff\xd8\xff%PDF-1.7 endobj trailer %%EOF", "cut short or damaged"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + make.HTML, "cut short or damaged"),
        (b"GIF89a=1;/*" + b"\0" * 20 + make.SCRIPT, "GIF"),
        (b"\x89PNG\r\n\x1a\n" + make.HTML, "PNG that is cut short"),
        (b"RIFF\x10\0\0\0WEBP" + make.HTML, "WebP that begins with"),
        (b"BM" + bytes(60), "not a JPEG"),
        (b"II*\0" + bytes(60), "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(exec) run", "not a JPEG"),
        (b"\0\0\x01\0\x01\0" + bytes(40), "not a JPEG"),
        (b"8BPS" + bytes(40), "not a JPEG"),
        (b"\0\0\0\x20ftypavif" + bytes(40), "not a JPEG"),
    ],
)
def test_what_only_looks_like_a_picture_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        square(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make.jpeg_of_scans(64, 64, MAX_SCANS + 1), f"more than {MAX_SCANS} scans"),
        (make.jpeg_with(EMPTY_SEGMENT * MAX_PARTS), f"{MAX_PARTS} segments"),
        (make.jpeg_of_scans(64, 64, 1)[:-2] + EMPTY_SEGMENT * MAX_PARTS + b"\xff\xda" * 101, "seg"),
        (make.png_with(EMPTY_CHUNK * MAX_PARTS), f"{MAX_PARTS} chunks"),
        (make.png_with(make.png_chunk(b"IDAT", b"") * MAX_PARTS), f"{MAX_PARTS} chunks"),
        (make.gif_with(EMPTY_COMMENT * MAX_PARTS), f"{MAX_PARTS} blocks"),
        (make.gif_with(b"\x21\xfe" + b"\x01a" * MAX_PARTS + b"\0"), f"{MAX_PARTS} blocks"),
        (make.webp_of_frames(MAX_PARTS), f"{MAX_PARTS} chunks"),
        (b"\xff\xd8\xff" + b"\xff" * 10_000_000, "cut short"),
        (b"GIF89a" + bytes(7) + b"\0" * 10_000_000, "cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}",
)
def test_a_file_of_too_many_parts_is_refused_before_a_decoder_sees_it(
    content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_DECODERS", {})
    with pytest.raises(ImageError, match=words):
        square(content)


def test_as_many_scans_and_frames_as_are_allowed_are_decoded() -> None:
    assert square(make.jpeg_of_scans(64, 64, MAX_SCANS - 1)).shape == (32, 32, 3)
    assert square(make.webp_of_frames(2000)).shape == (32, 32, 3)
    assert square(make.gif_of_frames(50_000)).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make.png(1, 1_000_001), "1x1000001 pixels; the limit of a side is"),
        (make.png(8000, 8000), "8000x8000 pixels; the limit is 50000000"),
        (make.encode(Image.new("L", (9000, 6000)), "JPEG"), "9000x6000"),
        (make.encode(Image.new("P", (9000, 6000)), "GIF"), "9000x6000"),
        (make.encode(Image.new("RGB", (9000, 6000)), "WEBP"), "9000x6000"),
    ],
    ids=["column", "png", "jpeg", "gif", "webp"],
)
def test_a_decompression_bomb_is_refused_before_a_decoder_sees_it(
    content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_DECODERS", {})
    assert len(content) < 800_000
    with pytest.raises(ImageError, match=words):
        square(content)


def test_a_frame_larger_than_its_gif_says_is_measured_too() -> None:
    content = bytearray(make.encode(make.picture("P"), "GIF"))
    at = content.index(b"\x2c\0\0\0\0")
    content[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="65535x65535 pixels"):
        square(bytes(content))


def test_no_decoder_but_four_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()  # what another library in the process may have done: all plugins are registered
    tried: list[str] = []
    original = ImageFile.ImageFile.__init__

    def init(self: ImageFile.ImageFile, *args: object, **more: object) -> None:
        tried.append(type(self).__name__)
        original(self, *args, **more)  # type: ignore[arg-type]

    def no_search(*_: object, **__: object) -> None:
        raise AssertionError("Image.open tries every plugin")

    monkeypatch.setattr(ImageFile.ImageFile, "__init__", init)
    monkeypatch.setattr(Image, "open", no_search)
    others = [b"%!PS-Adobe-3.0", b"II*\0", b"BM", b"8BPS", b"P6 1 1 255 ", b"\0\0\x01\0", b"SIMPLE"]
    others += [b"\xff\xd8\xff", b"GIF89a", b"\x8aMNG", b"qoif", b"DDS ", b"\xff\x4f\xff\x51"]
    good = [*make.good().values()]
    for content in good:
        square(content)
    for magic in others:
        with pytest.raises(ImageError):
            square(magic + bytes(200))
    assert set(tried) == {"JpegImageFile", "PngImageFile", "GifImageFile", "WebPImageFile"}


@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        (make.tiff([(0x0112, 3, 1, b"\x06\0\0\0")]), 6),
        (b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0", 3),
        (make.tiff([(0x0112, 3, 1, b"\x09\0\0\0")]), 1),
        (make.tiff([(0x0112, 4, 1, b"\x03\0\0\0")]), 1),
        (make.tiff([(0x0100, 3, 1, b"\x03\0\0\0")], count=65_535), 1),
        (make.exif_that_repeats_itself(5000, 5000), 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"II*\0\0\0\0\0" * 3, 1),
        (b"", 1),
        (make.tiff([(0x0112, 3, 1, b"\x06\0\0\0")]) + bytes(70_000), 1),
    ],
)
def test_of_metadata_one_number_is_read_and_nothing_else(exif: bytes, orientation: int) -> None:
    assert orientation_of(exif) == orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_of_any_format_is_turned_upright(kind: str) -> None:
    exif = make.tiff([(0x0112, 3, 1, b"\x03\0\0\0")])
    exif = b"Exif\0\0" + exif if kind == "JPEG" else exif
    row = square(make.encode(make.picture(), kind, exif=exif))[16].astype(int)
    assert row[4][2] > 150
    assert row[27][0] > 150


def test_an_exif_block_full_of_lies_writes_no_warnings() -> None:
    exif = make.exif_that_repeats_itself(3000, 20_000)
    content = make.jpeg_with(make.segment(0xE1, b"Exif\0\0" + exif[:60_000]))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert shows_the_picture(content)
    assert said == []


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("size", [(300, 200), (2000, 1500)])
def test_pixels_are_the_same_with_and_without_metadata(
    size: tuple[int, int], options: dict[str, object]
) -> None:
    image = make.rows_of(*size)
    plain = make.encode(image, "JPEG", **options)
    profile = make.segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(3000))
    dressed = plain[:2] + profile + make.segment(0xFE, make.HTML) + plain[2:]
    assert (square(plain) == square(dressed)).all()
    with Image.open(io.BytesIO(plain)) as opened:
        opened.draft("RGB", (64, 64))
        expected = opened.resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=3.0)
    assert (square(plain) == np.asarray(expected)).all()


def test_huge_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_HUGE_PIXELS", 1000)
    inside: list[int] = []
    most: list[int] = []
    original = images._resizable

    def resizable(image: Image.Image) -> Image.Image:
        inside.append(1)
        threading.Event().wait(0.02)
        most.append(len(inside))
        inside.pop()
        return original(image)

    monkeypatch.setattr(images, "_resizable", resizable)
    contents = [make.encode(make.picture(), kind) for kind in ("PNG", "GIF", "WEBP")]
    contents.append(make.encode(make.picture(), "JPEG", progressive=True))
    threads = [threading.Thread(target=square, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert pixels_of(make.encode(make.picture(), "JPEG")).by_scans is False
    assert pixels_of(contents[-1]).by_scans is True


def test_the_worst_pictures_within_the_limits_fit_into_bounded_memory() -> None:
    # A WebP of 50 megapixels takes 770 MB; four threads decode one each, in a process that may
    # have 1.4 GB besides what its libraries take.
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    program = """
import resource
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from models.posts.images import PictureFile
from tests.hostile import pictures as make
content = make.encode(Image.new("RGB", (7071, 7071)), "WEBP", method=0)
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 1_400_000_000,) * 2)
def decode(content):
    return PictureFile(content, 50_000_000, 224).squares()[0].shape
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(decode, [content] * 4)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == str([(224, 224, 3)] * 4), done.stderr[-2000:]
