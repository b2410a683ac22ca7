"""What of a picture file is pixels: found before any decoder sees it. Needs no torch.

A file within the limits of bytes and pixels may still cost a decoder minutes, gigabytes or a
flooded log: a JPEG of a hundred thousand scans (50 s for one megapixel, measured), a million empty
segments, an EXIF block with 65,000 lies in it. So a file is walked once, in bounded steps; what a
decoder is given is the part that makes pixels, and nothing of the rest is parsed but one number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from deadpan.core.errors import ImageError
from models.posts.frames import MAX_LOOKED_AT

Kind = Literal["JPEG", "PNG", "GIF", "WebP"]

MAX_SCANS = 100
"""Of a progressive JPEG; encoders write about 10. Each is a pass over all pixels: 100 of them take
2.9 s of 50 megapixels (measured). Source: "Two Issues with the JPEG Standard", libjpeg-turbo."""

MAX_PARTS = 20_000
"""Segments, chunks or blocks of a file; a PNG of 10 MB in libpng's usual pieces has 1,300."""

MAX_EXIF_BYTES = 65_536
"""What one JPEG segment holds; a longer block is not looked at."""

_ORIENTATION = 0x0112
_SHORT = 3
# not `\xff+`: on a run of 0xff that would be tried from each of them
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
# SOF, DHT, DAC, DQT, DNL, DRI; and the two that say what the colours are: JFIF and Adobe
_JPEG_KEPT = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xE0, 0xEE}
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_GIF_BLOCK = re.compile(rb"[\x21\x2c\x3b]")
_GIF_STEPS = 200_000
"""Blocks of a GIF that are stepped over to count its frames: 50 MB in usual pieces, 0.03 s."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The part of a file that makes pixels.

    Attributes:
        content: a file of the same kind, without metadata; of an animation with so many frames
            that not all are looked at, it may hold the first ones alone.
        width, height: as the file states them, in pixels; of an animation, of its largest frame.
        frames: of an animation; 1 of any other picture.
        orientation: 1 to 8, as in EXIF; 1 where none is stated.
        by_scans: whether all of it is kept in memory while it is decoded, however small it is
            wanted: a JPEG that does not hold all colours of a place together.
    """

    kind: Kind
    content: bytes
    width: int
    height: int
    orientation: int = 1
    by_scans: bool = False
    frames: int = 1


def pixels_of(content: bytes) -> Pixels:
    """Find the pixels of a JPEG, PNG, GIF or WebP file, by its first bytes; no other is known.

    Raises:
        ImageError: none of these, cut short before its pixels begin, or of too many parts.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _gif(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _webp(content)
    if not content:
        raise ImageError("image is empty (0 bytes); upload it again")
    raise ImageError(
        f"image begins with the bytes {content[:8].hex(' ')}, which is not a JPEG, PNG, WebP "
        "or GIF; convert it to one of these"
    )


def orientation_of(exif: bytes) -> int:
    """The orientation that an EXIF block states, 1 to 8; 1 where it states none, or nonsense.

    Source: Exif 3.0, section 4.6.2 (TIFF 6.0, section 2).
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    if len(exif) > MAX_EXIF_BYTES or exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = (int.from_bytes(exif[at + n : at + n + 2], order) for n in (0, 2))
        if tag == _ORIENTATION:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if kind == _SHORT and 1 <= value <= 8 else 1
    return 1


def _jpeg(content: bytes) -> Pixels:
    """Source: ITU-T T.81, annex B."""
    view = memoryview(content)
    kept = [view[:2]]
    at = 2
    size: tuple[int, int] | None = None
    colours = 0
    by_scans = False
    exif = b""
    for _ in range(MAX_PARTS):
        marker = _MARKER.search(content, at)
        if marker is None:
            raise _cut_short(content, "JPEG")
        start, at = marker.span()
        code = content[start + 1]
        if code in _BARE_MARKERS:
            continue
        if code == 0xDA and size is not None:
            by_scans |= content[at + 2 : at + 3] != bytes([colours])
            if by_scans:  # of any other, libjpeg decodes the first scan alone
                _check_scans(content, start)
            kept.append(view[start:])
            return Pixels("JPEG", _joined(content, kept), *size, orientation_of(exif), by_scans)
        length = int.from_bytes(content[at : at + 2])
        if code in (0xD9, 0xDA) or length < 2:
            raise _cut_short(content, "JPEG")
        if code in _START_OF_FRAME and size is None:
            height, width = content[at + 3 : at + 5], content[at + 5 : at + 7]
            size = int.from_bytes(width), int.from_bytes(height)
            by_scans = code in _PROGRESSIVE
            colours = content[at + 7] if len(content) > at + 7 else 0
        if code == 0xE1 and not exif and content.startswith(b"Exif\0\0", at + 2):
            exif = content[at + 2 : at + length]
        if code in _JPEG_KEPT:
            kept.append(view[start : at + length])
        at += length
    raise _too_many(content, "JPEG", "segments")


def _check_scans(content: bytes, at: int) -> None:
    """Refuse what has more scans than `MAX_SCANS` from here on."""
    # Every scan that a decoder finds begins with these bytes. A trailer (the film of a "motion
    # photo") may hold them by chance, so only then they are looked at one by one.
    if content.count(b"\xff\xda", at) <= MAX_SCANS:
        return
    scans = 0
    for _ in range(MAX_PARTS):
        marker = _MARKER_IN_SCAN.search(content, at)
        if marker is None or content[marker.start() + 1] == 0xD9:
            return
        at = marker.end()
        code = content[at - 1]
        scans += code == 0xDA
        if scans > MAX_SCANS:
            raise ImageError(
                f"image of {len(content)} bytes is a JPEG of more than {MAX_SCANS} scans; "
                "save it again, as a baseline JPEG"
            )
        if code not in _BARE_MARKERS:
            at += int.from_bytes(content[at : at + 2])
    raise _too_many(content, "JPEG", "segments")


def _png(content: bytes) -> Pixels:
    """Source: PNG (third edition), sections 5 and 11."""
    if content[12:16] != b"IHDR":
        raise _cut_short(content, "PNG")
    view = memoryview(content)
    kept = [view[:8]]
    at = 8
    exif = b""
    frames = 0
    for _ in range(MAX_PARTS):
        kind = content[at + 4 : at + 8]
        if len(kind) < 4:
            break  # cut short; what is there may make pixels all the same, or the decoder says so
        end = at + 12 + int.from_bytes(content[at : at + 4])
        frames += kind == b"fcTL"
        if kind in _PNG_KEPT and not (kind in (b"fcTL", b"fdAT") and frames > MAX_LOOKED_AT):
            kept.append(view[at:end])
        elif kind == b"eXIf" and not exif:
            exif = content[at + 8 : end - 4]
        at = end
        if kind == b"IEND":
            break
    else:
        raise _too_many(content, "PNG", "chunks")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    return Pixels(
        "PNG", _joined(content, kept), width, height, orientation_of(exif), frames=max(1, frames)
    )


def _gif(content: bytes) -> Pixels:
    """Source: GIF89a specification, sections 17 to 26."""
    if len(content) < 13:
        raise _cut_short(content, "GIF")
    view = memoryview(content)
    flags = content[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept = [view[:at]]
    # where frames stand and how large they are may exceed what the file states at its beginning
    width, height = (int.from_bytes(content[n : n + 2], "little") for n in (6, 8))
    control = view[:0]
    frames = steps = 0
    while steps < _GIF_STEPS and (block := _GIF_BLOCK.search(content, at)) is not None:
        start, at = block.span()
        if content[start] == 0x3B:
            break
        if content[start] == 0x2C:
            if len(content) < start + 11:
                break
            frames += 1
            left, top, wide, high = (
                int.from_bytes(content[start + n : start + n + 2], "little") for n in (1, 3, 5, 7)
            )
            colours = content[start + 9]
            at = start + 11 + (3 << (colours & 7) + 1 if colours & 0x80 else 0)
        else:
            at += 1
        at, passed = _behind_blocks(content, at)
        steps += 1 + passed
        if content[start] == 0x2C and frames <= MAX_LOOKED_AT:
            width, height = max(width, left + wide), max(height, top + high)
            kept += [control, view[start:at]]
            control = view[:0]
        elif content[start : start + 2] == b"\x21\xf9":
            control = view[start:at]
        if not frames and steps > MAX_PARTS:
            raise _too_many(content, "GIF", "blocks")
    if not frames:
        raise _cut_short(content, "GIF")
    return Pixels("GIF", b"".join([*kept, b"\x3b"]), width, height, frames=frames)


def _behind_blocks(content: bytes, at: int) -> tuple[int, int]:
    """Where a GIF's row of blocks ends, and how many they are."""
    passed = 0
    while at < len(content) and content[at]:
        at += 1 + content[at]
        passed += 1
        if passed > _GIF_STEPS:
            break
    return min(at + 1, len(content)), passed


def _webp(content: bytes) -> Pixels:
    """Source: RFC 9649, sections 2.5 to 2.7 and 3.4 (VP8L); RFC 6386, section 9.1 (VP8)."""
    width, height = _webp_canvas(content)
    at = 12
    exif = b""
    frames = 0
    for _ in range(MAX_PARTS):
        kind = content[at : at + 4]
        if len(kind) < 4:
            return Pixels(
                "WebP", content, width, height, orientation_of(exif), frames=max(1, frames)
            )
        frames += kind == b"ANMF"
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if kind == b"EXIF" and not exif:
            exif = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise _too_many(content, "WebP", "chunks")


def _webp_canvas(content: bytes) -> tuple[int, int]:
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        raise _cut_short(content, "WebP")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        return width, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ImageError(f"image is a WebP that begins with {kind!r}; convert it to JPEG or PNG")


def _joined(content: bytes, kept: list[memoryview]) -> bytes:
    """The kept parts of a file; the file itself, uncopied, where that is all of it."""
    return content if sum(map(len, kept)) == len(content) else b"".join(kept)


def _cut_short(content: bytes, kind: Kind) -> ImageError:
    return ImageError(
        f"image of {len(content)} bytes is a {kind} that is cut short or damaged; upload it again"
    )


def _too_many(content: bytes, kind: Kind, parts: str) -> ImageError:
    return ImageError(
        f"image of {len(content)} bytes is a {kind} of more than {MAX_PARTS} {parts}; save it again"
    )
