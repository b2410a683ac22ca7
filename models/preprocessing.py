"""Prepare: a post's words and pictures in the form the encoders take. Needs no torch.

`TextPreparer` and `normalise_text` live in `models.text`, `decode_image` in `models.images`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from deadpan.errors import ImageError
from models.feature_cache import Features
from models.images import decode_image, make_thumbnail
from models.ocr import Reader
from models.prediction import ImageProblem, PreparedImage, PreparedPost, UndecodedImage
from models.text import TextPreparer, normalise_text

__all__ = ["Preparer", "TextPreparer", "decode_image", "normalise_text"]


class Preparer:
    """Prepares posts; safe to call from several threads at once.

    Args:
        text: normalises and tokenises.
        image_size: side of the square for the image encoder, in pixels.
        max_image_pixels: a picture with more is not decoded.
        ocr: reads the words in pictures; None leaves them unread.
    """

    def __init__(
        self,
        text: TextPreparer,
        *,
        image_size: int,
        max_image_pixels: int,
        ocr: Reader | None = None,
    ) -> None:
        self._text = text
        self._ocr = ocr
        self.reads_pictures = ocr is not None
        self._image_size = image_size
        self._max_image_pixels = max_image_pixels

    def __call__(
        self,
        text: str,
        images: Sequence[bytes | UndecodedImage | ImageProblem],
        known: Mapping[str, Features] | None = None,
    ) -> PreparedPost:
        """Prepare one post.

        Args:
            text: as its author wrote it.
            images: undecoded files, or why there is none, in the post's order.
            known: features of pictures by hash; these pictures are not decoded.

        Returns:
            The post with one entry for every image given. Content never makes this raise.
        """
        prepared = tuple(self._image(image, known or {}) for image in images)
        normalised, token_ids = self._text(text, self._words_in(prepared))
        return PreparedPost(normalised, token_ids, prepared)

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of a prepared post's text, or of a part of it; () when there are no words."""
        return self._text.encode(joined)

    def thumbnail(self, image: PreparedImage) -> npt.NDArray[np.uint8]:
        """See `models.images.make_thumbnail`.

        Raises:
            ImageError: it cannot be decoded in this size.
        """
        return make_thumbnail(image.source.content, max_pixels=self._max_image_pixels)

    def with_pixels(self, image: PreparedImage) -> PreparedImage:
        """Decode a picture whose features were known."""
        return image if image.pixels is not None else self._decode(image.source)

    def _words_in(self, images: Sequence[PreparedImage | ImageProblem]) -> list[str]:
        if self._ocr is None:
            return []
        words = []
        for image in images:
            if isinstance(image, PreparedImage):
                found = self._ocr.known(image.source.sha256)
                if found is None:
                    try:
                        # what a moderator sees, and pictures are small enough there
                        thumbnail = self.thumbnail(image)
                    except ImageError:
                        continue
                    found = self._ocr.read(thumbnail, sha256=image.source.sha256)
                words.append(found.text)
        return words

    def _image(
        self, image: bytes | UndecodedImage | ImageProblem, known: Mapping[str, Features]
    ) -> PreparedImage | ImageProblem:
        if isinstance(image, ImageProblem):
            return image
        source = image if isinstance(image, UndecodedImage) else UndecodedImage.of(image)
        if source.sha256 in known:
            return PreparedImage(source, pixels=None, features=known[source.sha256])
        try:
            return self._decode(source)
        except ImageError as error:
            return ImageProblem(str(error))

    def _decode(self, source: UndecodedImage) -> PreparedImage:
        return decode_image(source, max_pixels=self._max_image_pixels, image_size=self._image_size)
