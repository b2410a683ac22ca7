"""Pictures of a post, decoded with suspicion. Needs no torch."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deadpan.core.errors import ImageError
from models.posts import frames
from models.posts.containers import Kind, Pixels, pixels_of
from models.posts.prediction import PreparedImage

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

CUT_SHORT = "its file is cut short or damaged; what could be decoded is judged"

_NOTHING = 0.99
"""What is cut short is not there at all if this share of its pixels has one grey value."""

_GROUNDS = {"white": 255, "black": 0, "grey": 128}
_STANDS_OUT = 48
"""Grey values, of 255, between which a shape stands out from its ground."""
_SHOWN = 0.8
"""Of what is not transparent, the share that has to stand out on white."""

_Made = TypeVar("_Made")


class _ThisThread(threading.local):
    """Pillow asks a name of its module whether to decode what is cut short, and each thread here
    has an answer of its own: others must go on to hear that a file is not whole."""

    is_lenient = False

    def __bool__(self) -> bool:
        return self.is_lenient


_this_thread = _ThisThread()
ImageFile.LOAD_TRUNCATED_IMAGES = _this_thread  # type: ignore[assignment]

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


class Decoded(NamedTuple):
    """What the model, and people, see of a file.

    Attributes:
        squares: uint8 [image_size, image_size, 3] each; of an animation, several.
        thumbnail: uint8 [height, width, 3], at most `THUMBNAIL_SIDE`, or None where
            `PictureFile.thumbnail` has to make it.
        unread: what is in neither, in words for a moderator.
    """

    squares: Sequence[npt.NDArray[np.uint8]]
    thumbnail: npt.NDArray[np.uint8] | None
    unread: str | None


@dataclass(frozen=True, slots=True)
class PictureFile:
    """An undecoded JPEG, PNG, WebP or GIF file. All its methods raise ImageError for a file that is
    none of these, too large, or broken.

    Attributes:
        content: its bytes.
        max_pixels: width times height above which nothing is decoded.
        image_size: side of the square for the image encoder, in pixels.
    """

    content: bytes
    max_pixels: int
    image_size: int

    def squares(self) -> Sequence[npt.NDArray[np.uint8]]:
        """Upright: uint8 [image_size, image_size, 3] of each frame that is judged."""
        return self.decode().squares

    def thumbnail(self) -> npt.NDArray[np.uint8]:
        """The same with its own proportions: uint8 [height, width, 3], at most `THUMBNAIL_SIDE`."""
        with self._in_words():
            return _in_turn(self._thumbnail, self._found())

    def decode(self) -> Decoded:
        """The squares, and the thumbnail where it costs next to nothing: of a small picture."""
        with self._in_words():
            return _in_turn(self._decoded, self._found())

    def _found(self) -> Pixels:
        found = pixels_of(self.content)
        _check_size(found.width, found.height, self.max_pixels)
        return found

    def _thumbnail(self, found: Pixels) -> npt.NDArray[np.uint8]:
        if found.frames > 1:
            made = self._animation(found).thumbnail
            assert made is not None
            return made
        image, _ = self._loaded(found, THUMBNAIL_SIDE)
        return _finished(_shrink(image, THUMBNAIL_SIDE), found.orientation)

    def _decoded(self, found: Pixels) -> Decoded:
        if found.frames > 1:
            return self._animation(found)
        # Scaling in the decoder is coarse, so it leaves twice what is needed to the one resize.
        image, is_whole = self._loaded(found, 2 * self.image_size)
        # below the first, no decoder has scaled it; up to the second, nothing has to shrink it
        small = max(image.size) < min(2 * self.image_size, THUMBNAIL_SIDE + 1)
        thumbnail = _finished(image, found.orientation) if small else None
        return Decoded([self._square(image, found)], thumbnail, None if is_whole else CUT_SHORT)

    def _square(self, image: Image.Image, found: Pixels) -> npt.NDArray[np.uint8]:
        size = (self.image_size, self.image_size)
        square = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        return _finished(square, found.orientation)

    def _animation(self, found: Pixels) -> Decoded:
        squares, thumbnails, looked_at = [], [], 0
        for image in self._frames(found):
            looked_at += 1
            squares.append(self._square(image, found))
            small = _shrink(image, THUMBNAIL_SIDE // 2)
            thumbnails.append(_finished(small, found.orientation))
        judged = frames.chosen(squares)
        sheet = frames.sheet([thumbnails[n] for n in judged])
        unread = None
        if len(judged) > 1 or looked_at < found.frames:
            unread = f"it moves: {len(judged)} of its {found.frames} frames are judged"
        return Decoded([squares[n] for n in judged], sheet, unread)

    def _frames(self, found: Pixels) -> Iterator[Image.Image]:
        """The first frames, whole, one after the other; as many as can be decoded, at least one."""
        image = _DECODERS[found.kind](BytesIO(found.content))
        # a PNG's own picture, which no viewer of its animation shows
        hidden = int(getattr(image, "default_image", False))
        most = min(found.frames, frames.MAX_LOOKED_AT)
        each = found.width * found.height
        most = min(most, 1 + frames.MAX_MORE_PIXELS // each)
        with _lenient():
            for number in range(most):
                try:
                    image.seek(number + hidden)
                    _check_size(*image.size, self.max_pixels)
                    image.load()
                    frame = _resizable(image.copy())
                except Exception:
                    if number == 0:
                        raise
                    return  # what is behind a broken frame, no browser shows
                yield frame

    def _loaded(self, found: Pixels, needed: int) -> tuple[Image.Image, bool]:
        """Decoded, in a mode that can be resized, and whether all of it is there; a JPEG at reduced
        scale, but each side at least `needed` pixels."""
        try:
            return self._loaded_once(found, needed), True
        except (ImageError, MemoryError):
            raise
        except Exception:
            # As browsers do: a picture that lacks its end is shown as far as it goes.
            with _lenient():
                image = self._loaded_once(found, needed)
            shades = image.convert("L").histogram()
            if max(shades) >= _NOTHING * sum(shades):
                raise
            return image, False

    def _loaded_once(self, found: Pixels, needed: int) -> Image.Image:
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
                "it is cut short or damaged; upload it again"
            ) from error


def decode_image(content: bytes, *, max_pixels: int, image_size: int) -> PreparedImage:
    """Decode, turn upright and shrink a file; of an animation, the frames that differ most.

    Transparent parts become white, or darker where white would hide what is there. The picture is
    squashed to a square, not cropped: what stands at its edge (a caption, often) is part of what it
    says. The thumbnail of a large picture is made when it is asked for. What is cut short is
    decoded as far as it goes.

    Raises:
        ImageError: not one of these formats, too large, or broken.
    """
    file = PictureFile(content, max_pixels, image_size)
    return PreparedImage(hashlib.sha256(content).hexdigest(), *file.decode(), file=file)


def of_thumbnail(content: bytes, count: int, *, image_size: int) -> PreparedImage:
    """What the model sees of a picture of which only its thumbnail is left, as a file: nearly what
    it saw of the picture itself, for the thumbnail is as large and was compressed once more.

    It is not named by its file, so whatever is computed of it is kept nowhere.

    Args:
        count: of frames on the thumbnail, of an animation.

    Raises:
        ImageError: it cannot be decoded.
    """
    file = PictureFile(content, THUMBNAIL_SIDE**2, image_size)
    name = f"thumbnail {hashlib.sha256(content).hexdigest()}"
    if count == 1:
        return PreparedImage(name, file.squares())
    each = [Image.fromarray(one) for one in frames.apart(file.thumbnail(), count)]
    size = (image_size, image_size)
    squares = [np.array(one.resize(size, Image.Resampling.BICUBIC)) for one in each]
    return PreparedImage(name, squares)


@contextmanager
def _lenient() -> Iterator[None]:
    """Decode what is there of a file that is cut short."""
    _this_thread.is_lenient = True
    try:
        yield
    finally:
        _this_thread.is_lenient = False


def _in_turn(decode: Callable[[Pixels], _Made], found: Pixels) -> _Made:
    """Decode here, or where huge pictures wait for each other."""
    in_strips = found.kind == "JPEG" and not found.by_scans
    if in_strips or found.width * found.height <= _HUGE_PIXELS:
        return decode(found)
    return _ONE_HUGE.submit(decode, found).result()


def _finished(image: Image.Image, orientation: int) -> npt.NDArray[np.uint8]:
    """On a ground that shows it, as RGB, and upright."""
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, _ground(image))
        image = Image.alpha_composite(ground, image)
    image = image.convert("RGB")
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    return np.array(image, dtype=np.uint8)


def _ground(image: Image.Image) -> str:
    """White, unless what can be seen of an RGBA picture stands out less on it than on another."""
    seen = np.asarray(image.getchannel("A"), dtype=np.float32)
    if seen.min() == 255 or seen.max() == 0:
        return "white"
    grey = np.asarray(image.convert("RGB").convert("L"), dtype=np.float32)
    shown = {
        name: float((seen * (abs(grey - value) >= _STANDS_OUT)).sum() / seen.sum())
        for name, value in _GROUNDS.items()
    }
    return "white" if shown["white"] >= _SHOWN else max(shown, key=lambda name: shown[name])


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"image is {width}x{height} pixels; it must be at least 1x1")
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f"image is {width}x{height} pixels; the limit of a side is {MAX_SIDE}; "
            "upload a smaller one"
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


def _shrink(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
