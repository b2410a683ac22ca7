"""Picture files that nobody means well with, each made here. Sizes are small unless asked for."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

HTML = b"<!doctype html><script>alert(document.cookie)</script>"
SCRIPT = b"*/=1;alert(document.cookie);/*"


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (200, 30, 30))
    image.paste((30, 30, 200), (size[0] // 2, 0, *size))
    return image.convert(mode)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG, with its right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, before: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of one value throughout, of any size: 50 megapixels compress to some kilobytes."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" + b"\x55" * ((width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", data)
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png_with(before: bytes) -> bytes:
    """A small picture with other chunks before its pixels."""
    content = encode(picture(), "PNG")
    return content[:33] + before + content[33:]


def segment(code: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(segments: bytes, **options: Any) -> bytes:
    """A small picture with other segments before its own."""
    content = encode(picture(), "JPEG", **options)
    return content[:2] + segments + content[2:]


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose further scans, some 20 bytes each, change nothing."""
    content = encode(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    end = content.index(b"\xff\xda") + 2
    while content[end] != 0xFF or content[end + 1] in (0, *range(0xD0, 0xD8)):
        end += 1
    # a Huffman table of one code: 0 says that at least 2**14 blocks have nothing in this band
    table = segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")
    bits = ""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    while blocks > 0:
        run = min(max(blocks, 2**14), 2**15 - 1)
        bits += "0" + format(run - 2**14, "014b")
        blocks -= run
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    scan = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + data
    return content[:end] + table + scan * scans + b"\xff\xd9"


def tiff(entries: list[tuple[int, int, int, bytes]], *, count: int | None = None) -> bytes:
    """An EXIF block of (tag, type, count, four bytes) each; it may lie about how many there are."""
    stated = len(entries) if count is None else count
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", stated) + body


def exif_that_repeats_itself(entries: int, size: int) -> bytes:
    """Every entry states that its value is the same `size` bytes."""
    at = 10 + 12 * entries
    place = struct.pack("<I", at)
    return tiff([(300 + n, 1, size, place) for n in range(entries)]) + bytes(size)


def gif_with(blocks: bytes) -> bytes:
    """A small GIF with other blocks before its picture."""
    content = encode(picture("P"), "GIF")
    at = content.index(b"\x2c\0\0\0\0")
    return content[:at] + blocks + content[at:]


def webp_of_frames(frames: int, side: int = 8) -> bytes:
    """An animated WebP of one-pixel frames."""
    one = encode(Image.new("RGBA", (1, 1)), "WEBP", lossless=True)[12:]
    body = bytes(12) + b"\x01\0\0\0" + one
    frame = b"ANMF" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    canvas = struct.pack("<I", side - 1)[:3] * 2
    content = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    content += b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * frames
    return b"RIFF" + struct.pack("<I", len(content)) + content


def gif_of_frames(frames: int) -> bytes:
    """A GIF of the same frame over and over."""
    content = encode(picture("P", (8, 8)), "GIF")
    frame = content[content.index(b"\x2c\0\0\0\0") : -1]
    return content[:-1] + frame * (frames - 1) + content[-1:]


def rows_of(width: int, height: int) -> Image.Image:
    """A picture with something in every pixel, always the same."""
    values = np.random.default_rng(5).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(values)


def good() -> dict[str, bytes]:
    """What a decoder has to show, odd as it is: red on the left, blue on the right."""
    exif = tiff([(0x0112, 3, 1, b"\x01\0\0\0")])
    animated = {"save_all": True, "append_images": [Image.new("RGB", (48, 32), "green")]}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "jpeg": encode(picture(), "JPEG"),
        "jpeg_progressive": encode(picture(), "JPEG", progressive=True),
        "jpeg_cmyk": encode(picture("CMYK"), "JPEG"),
        "jpeg_grey_exif": encode(picture(), "JPEG", exif=b"Exif\0\0" + exif, icc_profile=profile),
        "jpeg_icc_broken": encode(picture(), "JPEG", icc_profile=b"\xff\xda\xff\xd9 no profile"),
        "jpeg_html": encode(picture(), "JPEG", comment=HTML),
        "jpeg_html_behind": encode(picture(), "JPEG") + HTML,
        "jpeg_scans_behind": encode(picture(), "JPEG") + b"\xff\xda" * 200,
        "jpeg_scans_in_metadata": jpeg_with(segment(0xE1, b"\xff\xda" * 200)),
        "png": encode(picture(), "PNG"),
        "png_palette_alpha": encode(picture("P"), "PNG", transparency=b"\xff" * 255),
        "png_icc_broken": png_with(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))),
        "png_icc_bomb": png_with(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**23), 9))),
        "png_ztxt_bomb": png_with(png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**23), 9))),
        "png_itxt_bomb": png_with(
            png_chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(2**23), 9))
        ),
        "png_exif_broken": png_with(png_chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
        "apng": encode(picture(), "PNG", **animated),
        "gif": encode(picture("P"), "GIF"),
        "gif_animated": encode(picture(), "GIF", **animated),
        "gif_script": gif_with(b"\x21\xfe" + bytes([len(SCRIPT)]) + SCRIPT + b"\0"),
        "webp": encode(picture(), "WEBP"),
        "webp_lossless": encode(picture("RGBA"), "WEBP", lossless=True),
        "webp_animated": encode(picture(), "WEBP", **animated),
        "webp_exif": encode(picture(), "WEBP", exif=exif),
    }
