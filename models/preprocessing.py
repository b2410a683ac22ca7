"""Prepare: a post's words and pictures in the form the encoders take. Needs no torch.

`TextPreparer` and `normalise_text` live in `models.text`, `decode_image` in `models.images`.
"""

from __future__ import annotations

from collections.abc import Sequence

from deadpan.errors import ImageError
from models.images import decode_image
from models.ocr import Reader
from models.prediction import ImageProblem, PreparedImage, PreparedPost
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

    def __call__(self, text: str, images: Sequence[bytes | ImageProblem]) -> PreparedPost:
        """Prepare one post.

        Args:
            text: as its author wrote it.
            images: undecoded files, or why there is none, in the post's order.

        Returns:
            The post with one entry for every image given. Content never makes this raise.
        """
        prepared = tuple(map(self._image, images))
        normalised, token_ids = self._text(text, self._words_in(prepared))
        return PreparedPost(normalised, token_ids, prepared)

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of a prepared post's text, or of a part of it; () when there are no words."""
        return self._text.encode(joined)

    def _words_in(self, images: Sequence[PreparedImage | ImageProblem]) -> list[str]:
        if self._ocr is None:
            return []
        # the thumbnail is what a moderator sees as evidence, and pictures are small enough there
        return [
            self._ocr.read(image.thumbnail, sha256=image.sha256).text
            for image in images
            if isinstance(image, PreparedImage)
        ]

    def _image(self, content: bytes | ImageProblem) -> PreparedImage | ImageProblem:
        if isinstance(content, ImageProblem):
            return content
        try:
            return decode_image(
                content, max_pixels=self._max_image_pixels, image_size=self._image_size
            )
        except ImageError as error:
            return ImageProblem(str(error))
