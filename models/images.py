"""Pictures of a post, decoded with suspicion. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deadpan.errors import ImageError
from models.containers import Kind, Pixels, pixels_of
from models.prediction import PreparedImage

THUMBNAIL_SIDE = 512
"""Longest side of the thumbnail, in pixels."""

MAX_SIDE = 1_000_000
"""Longest side of a picture, in pixels. Pillow keeps memory for each row, so that a PNG of one
column and 50 million rows would take 1.1 GB and 1.7 s (measured)."""

_HUGE_PIXELS = 8_000_000
_ONE_HUGE = ThreadPoolExecutor(1, thread_name_prefix="deadpan-huge")
"""What has to be in memory whole takes up to 16 bytes a pixel while it is decoded: a WebP of 50
megapixels 770 MB (measured). However many threads decode, only this one does huge pictures. A lock
would not do: glibc keeps 190 MB of such a picture for each thread that ever decoded one."""

_Made = TypeVar("_Made")

# The decoder is chosen here and not by `Image.open`: that one looks for decompression bombs by way
# of `warnings`, so whether it raises depends on filters that every thread shares, and any plugin
# that somebody registered would be tried.
_DECODERS: dict[Kind, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WebP": WebPImageFile,
}
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
            return _in_turn(self._thumbnail, self._found())

    def decode(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """The square, and the thumbnail where it costs next to nothing: of a small picture.

        Returns:
            uint8 [size, size, 3]; uint8 [height, width, 3], or None where `thumbnail` has to make
            it.

        Raises:
            ImageError: not one of these formats, too large, or broken.
        """
        with self._in_words():
            return _in_turn(self._square_and_thumbnail, self._found())

    def _found(self) -> Pixels:
        found = pixels_of(self.content)
        _check_size(found.width, found.height, self.max_pixels)
        return found

    def _thumbnail(self, found: Pixels) -> npt.NDArray[np.uint8]:
        image = self._loaded(found, THUMBNAIL_SIDE)
        return _finished(_shrink(image), found.orientation)

    def _square_and_thumbnail(
        self, found: Pixels
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        # Scaling in the decoder is coarse, so it leaves twice what is needed to the one resize.
        image = self._loaded(found, 2 * self.image_size)
        size = (self.image_size, self.image_size)
        square = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        # below the first, no decoder has scaled it; up to the second, nothing has to shrink it
        small = max(image.size) < min(2 * self.image_size, THUMBNAIL_SIDE + 1)
        thumbnail = _finished(image, found.orientation) if small else None
        return _finished(square, found.orientation), thumbnail

    def _loaded(self, found: Pixels, needed: int) -> Image.Image:
        """Decoded, in a mode that can be resized.

        Args:
            needed: pixels of each side that must be left where a JPEG is decoded at reduced scale.
        """
        image = _DECODERS[found.kind](BytesIO(found.content))
        _check_size(*image.size, self.max_pixels)
        if isinstance(image, JpegImageFile):
            # decodes at 1/2, 1/4 or 1/8 where that is still as large as needed
            image.draft("RGB", (needed, needed))
        image.load()
        return _resizable(image)

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


def _in_turn(decode: Callable[[Pixels], _Made], found: Pixels) -> _Made:
    """Decode here, or where huge pictures wait for each other."""
    in_strips = found.kind == "JPEG" and not found.by_scans
    if in_strips or found.width * found.height <= _HUGE_PIXELS:
        return decode(found)
    return _ONE_HUGE.submit(decode, found).result()


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


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"image is {width}x{height} pixels; it must have at least 1x1")
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f"image is {width}x{height} pixels; a side may have {MAX_SIDE}; upload a smaller one"
        )
    if width * height > max_pixels:
        raise ImageError(
            f"image is {width}x{height} pixels; the limit is {max_pixels} "
            "(DEADPAN_MAX_IMAGE_PIXELS)"
        )


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
