"""Pictures of a post, decoded with suspicion. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deadpan.errors import ImageError
from models.prediction import PreparedImage

THUMBNAIL_SIDE = 512
"""Longest side of the thumbnail, in pixels."""

_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class PictureFile:
    """An undecoded JPEG, PNG, WebP or GIF file.

    Attributes:
        content: its bytes.
        max_pixels: width times height above which nothing is decoded.
        image_size: side of the square for the image encoder, in pixels.
    """

    content: bytes
    max_pixels: int
    image_size: int

    def square(self) -> npt.NDArray[np.uint8]:
        """Decode, shrink and turn upright: uint8 [image_size, image_size, 3].

        Raises:
            ImageError: not one of these formats, too large, or broken.
        """
        return self.decode()[0]

    def thumbnail(self) -> npt.NDArray[np.uint8]:
        """The same with its own proportions: uint8 [height, width, 3], at most `THUMBNAIL_SIDE`.

        Raises:
            ImageError: not one of these formats, too large, or broken.
        """
        with self._in_words():
            image, orientation = _loaded(self, THUMBNAIL_SIDE)
            return _finished(_shrink(image), orientation)

    def decode(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """The square, and the thumbnail where it costs next to nothing: of a small picture.

        Raises:
            ImageError: not one of these formats, too large, or broken.
        """
        with self._in_words():
            # Scaling in the decoder is coarse, so it leaves twice what is needed to the one resize.
            image, orientation = _loaded(self, 2 * self.image_size)
            size = (self.image_size, self.image_size)
            square = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
            # below the first, no decoder has scaled it; up to the second, nothing has to shrink it
            small = max(image.size) < min(2 * self.image_size, THUMBNAIL_SIDE + 1)
            thumbnail = _finished(image, orientation) if small else None
            return _finished(square, orientation), thumbnail

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except ImageError:
            raise
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, EOFError, struct.error,
            # MemoryError and others for hostile files; whichever it is, this picture is broken.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ImageError(
                f"image of {len(self.content)} bytes cannot be decoded: {reason}; "
                "it is cut short or damaged, and must be uploaded again"
            ) from error


def decode_image(content: bytes, *, max_pixels: int, image_size: int) -> PreparedImage:
    """Decode, turn upright and shrink one picture; of an animation, its first frame.

    Transparent parts become white. The picture is squashed to a square, not cropped: what stands
    at its edge (a caption, often) is part of what it says. The thumbnail of a large picture is made
    when it is asked for.

    Args:
        content: an undecoded JPEG, PNG, WebP or GIF file.
        max_pixels: width times height above which nothing is decoded.
        image_size: side of the square for the image encoder, in pixels.

    Raises:
        ImageError: not one of these formats, too large, or broken.
    """
    file = PictureFile(content, max_pixels, image_size)
    return PreparedImage(hashlib.sha256(content).hexdigest(), *file.decode(), file=file)


def _loaded(file: PictureFile, needed: int) -> tuple[Image.Image, int]:
    """Decoded, in a mode that can be resized; and how it has to be turned.

    Args:
        needed: pixels of each side that must be left where a JPEG is decoded at reduced scale.
    """
    image = _open(file.content, file.max_pixels)
    orientation = _orientation(image)
    if isinstance(image, JpegImageFile):
        # decodes at 1/2, 1/4 or 1/8 where that is still as large as needed
        image.draft("RGB", (needed, needed))
    image.load()
    return _resizable(image), orientation


def _finished(image: Image.Image, orientation: int) -> npt.NDArray[np.uint8]:
    """On white, as RGB, and upright."""
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    return np.array(image, dtype=np.uint8)


def _open(content: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header and check the size it states.

    The decoder is chosen here and not by `Image.open`: that one looks for decompression bombs by
    way of `warnings`, so whether it raises depends on filters that every thread shares.
    """
    file = BytesIO(content)
    image: ImageFile.ImageFile
    if content.startswith(b"\xff\xd8\xff"):
        image = JpegImageFile(file)
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        image = PngImageFile(file)
    elif content.startswith((b"GIF87a", b"GIF89a")):
        image = GifImageFile(file)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        # libwebp allocates the canvas when the file is opened, so its size is read before
        _check_size(*_webp_canvas(content), max_pixels)
        image = WebPImageFile(file)
    elif not content:
        raise ImageError("image is empty (0 bytes); it must be uploaded again")
    else:
        raise ImageError(
            f"image begins with the bytes {content[:8].hex(' ')}, which is not a JPEG, PNG, WebP "
            "or GIF; convert it to one of these"
        )
    _check_size(*image.size, max_pixels)
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"image is {width}x{height} pixels; it must have at least 1x1")
    if width * height > max_pixels:
        raise ImageError(
            f"image is {width}x{height} pixels; the limit is {max_pixels} "
            "(DEADPAN_MAX_IMAGE_PIXELS)"
        )


def _webp_canvas(content: bytes) -> tuple[int, int]:
    """Width and height as the container states them.

    Source: RFC 9649, sections 2.7.1 (VP8X), 3.4 (VP8L); RFC 6386, section 9.1 (VP8).
    """
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        raise ImageError(f"image of {len(content)} bytes is a WebP cut short; upload it again")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        return width, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ImageError(f"image is a WebP that begins with {kind!r}; convert it to JPEG or PNG")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever is wrong with the EXIF block, the picture itself may be fine
        return 1
    return value if isinstance(value, int) else 1


def _resizable(image: Image.Image) -> Image.Image:
    """The same picture in a mode that can be resized and then composed without loss."""
    if image.mode.startswith("I"):
        # 16 bits a channel; Pillow's own conversion to 8 clips instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    return image.convert("RGB")


def _shrink(image: Image.Image) -> Image.Image:
    scale = THUMBNAIL_SIDE / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
