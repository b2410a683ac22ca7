"""Pictures from the evidence: their size for the layout, and previews that show nothing."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

from PIL import Image

from deadpan.core.errors import EvidenceUnavailable
from storage.judging.evidence import EvidenceStore

KINDS: Final = ("full", "blur", "grey")
_BLURRED_PIXELS: Final = 14
"""The longer side of a blurred preview: colours remain, and nothing that could be recognised."""


class Pictures:
    """Evidence images. What has one SHA-256 never changes, so all of it may be remembered."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._size = lru_cache(8192)(self._read_size)
        self._blurred = lru_cache(2048)(self._make_blurred)

    def forget(self) -> None:
        """Forget what is kept in memory."""
        self._size.cache_clear()
        self._blurred.cache_clear()

    def size(self, sha256: str) -> tuple[int, int] | None:
        """Width and height; None where it cannot be read."""
        try:
            return self._size(sha256)
        except (EvidenceUnavailable, OSError):
            return None

    def bytes_of(self, sha256: str, kind: str) -> bytes:
        """A picture as JPEG.

        Args:
            kind: full as it was kept, grey without colours, blur a few pixels of it.

        Raises:
            EvidenceUnavailable: it is missing or no picture.
        """
        if kind == "full":
            return self._store.get(sha256)
        try:
            return self._blurred(sha256) if kind == "blur" else self._grey(sha256)
        except OSError as error:
            raise EvidenceUnavailable(f"evidence {sha256} is no picture") from error

    def _read_size(self, sha256: str) -> tuple[int, int]:
        with Image.open(io.BytesIO(self._store.get(sha256))) as image:
            return image.size

    def _make_blurred(self, sha256: str) -> bytes:
        with Image.open(io.BytesIO(self._store.get(sha256))) as image:
            small = image.convert("RGB")
            small.thumbnail((_BLURRED_PIXELS, _BLURRED_PIXELS), Image.Resampling.BOX)
            # As large as the picture, so that nothing jumps when it takes the preview's place.
            return _jpeg(small.resize(image.size, Image.Resampling.BICUBIC))

    def _grey(self, sha256: str) -> bytes:
        with Image.open(io.BytesIO(self._store.get(sha256))) as image:
            return _jpeg(image.convert("L"))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
