"""Prepare: a post's words and pictures in the form the encoders take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from deadpan.core.errors import ImageError
from models.engines.base import available_cpus
from models.posts import language
from models.posts.images import PictureFile, of_thumbnail
from models.posts.ocr import MAX_CHARACTERS, Reader, Reading
from models.posts.prediction import ImageProblem, PreparedImage, PreparedPost, Unread
from models.posts.text import TextPreparer
from models.serving.feature_cache import FeatureCache

Unprepared = tuple[str, Sequence[bytes | ImageProblem]]
"""A post's words as its author wrote them, and undecoded files, or why there is none."""

READING_VERSION = 2
"""Raised whenever other words, pixels or parts come out of the same post. It is part of the model's
version, so that posts that were judged before can be judged again; what a checkpoint was trained
with is `models.network.config.PREPROCESSING_VERSION`."""

_AT_ONCE = 4
"""Fewer pictures than this are decoded where they are: handing them over takes as long."""


class Preparer:
    """Prepares posts; safe to call from several threads at once.

    Args:
        text: normalises and tokenises.
        image_size: side of the square for the image encoder, in pixels.
        max_image_pixels: a picture with more is not decoded.
        ocr: reads the words in pictures; None leaves them unread.
        features: pictures that it knows are not decoded before somebody looks at them.
        threads: that decode pictures, shared by all who call; None for as many as there are CPUs.
    """

    def __init__(
        self,
        text: TextPreparer,
        *,
        image_size: int,
        max_image_pixels: int,
        ocr: Reader | None = None,
        features: FeatureCache | None = None,
        threads: int | None = None,
    ) -> None:
        self.text = text
        self._ocr = ocr
        self.reads_pictures = ocr is not None
        self._image_size = image_size
        self._max_image_pixels = max_image_pixels
        self._features = features
        self._threads = threads or min(8, available_cpus())
        # One pool for all chunks in hand, so that they do not decode more at once than CPUs can.
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="deadpan-decode")

    def __call__(
        self,
        text: str,
        images: Sequence[bytes | ImageProblem],
        stated_language: str | None = None,
    ) -> PreparedPost:
        """Prepare one post; see `all`."""
        (post,) = self.all([(text, images)], [stated_language])
        return post

    def all(
        self,
        posts: Sequence[Unprepared],
        stated_languages: Sequence[str | None] | None = None,
    ) -> list[PreparedPost]:
        """Prepare posts together: the same picture once, pictures in parallel, texts in a batch.

        Each has one entry for every image given. Content never makes this raise.

        Args:
            posts: any number.
            stated_languages: of each post, what its platform states, such as `de`; None, for all or
                for one, has the words themselves tell.
        """
        files: dict[int, bytes] = {
            id(image): image for _, images in posts for image in images if isinstance(image, bytes)
        }
        names = {key: hashlib.sha256(content).hexdigest() for key, content in files.items()}
        distinct = {names[key]: content for key, content in files.items()}
        pictures = self._pictures(distinct)
        prepared = [
            tuple(
                pictures[names[id(image)]] if isinstance(image, bytes) else image
                for image in images
            )
            for _, images in posts
        ]
        words = [self._words_in(images) for images in prepared]
        in_pictures = [[each.text for each in found] for found in words]
        texts = self.text.all(
            [(text, ocr) for (text, _), ocr in zip(posts, in_pictures, strict=True)]
        )
        stated = stated_languages or [None] * len(posts)
        languages = [
            language.stated(tag) or language.detect(text) or language.detect(" ".join(ocr))
            for tag, (text, _), ocr in zip(stated, posts, in_pictures, strict=True)
        ]
        return [
            replace(
                read,
                images=images,
                unread=read.unread + _unseen(images) + _cut(found),
                language=spoken,
            )
            for read, images, found, spoken in zip(texts, prepared, words, languages, strict=True)
        ]

    def again(
        self,
        text: str,
        in_pictures: str,
        pictures: Sequence[tuple[bytes, int] | ImageProblem],
        spoken: str | None,
    ) -> PreparedPost:
        """Prepare a post that was prepared before, from what was kept of it.

        Args:
            text: as its author wrote it.
            in_pictures: the words that were read in its pictures; they are not looked for again.
            pictures: of each the thumbnail's file and the frames on it, or why there is none.
            spoken: the language it was found to be in.

        Raises:
            ImageError: a thumbnail cannot be decoded.
        """
        (read,) = self.text.all([(text, [in_pictures])])
        images = tuple(
            picture
            if isinstance(picture, ImageProblem)
            else of_thumbnail(*picture, image_size=self._image_size)
            for picture in pictures
        )
        return replace(read, images=images, language=spoken)

    def _pictures(self, files: dict[str, bytes]) -> dict[str, PreparedImage | ImageProblem]:
        """Pictures by name; decoded, or with features that are known."""
        known = {} if self._features is None else self._features.load(files)
        found: dict[str, PreparedImage | ImageProblem] = {
            name: PreparedImage(name, features=features, file=self._file(files[name]))
            for name, features in known.items()
        }
        todo = [(name, content) for name, content in files.items() if name not in known]
        if len(todo) < _AT_ONCE or self._threads == 1:
            return found | self._decoded(todo)
        # A slice for each thread: handing over every picture by itself costs 50 µs each.
        slices = [todo[start :: self._threads] for start in range(self._threads)]
        for part in self._pool.map(self._decoded, slices):
            found |= part
        return found

    def _decoded(
        self, files: Sequence[tuple[str, bytes]]
    ) -> dict[str, PreparedImage | ImageProblem]:
        found: dict[str, PreparedImage | ImageProblem] = {}
        for name, content in files:
            file = self._file(content)
            try:
                found[name] = PreparedImage(name, *file.decode(), file=file)
            except ImageError as error:
                found[name] = ImageProblem(str(error))
        return found

    def _file(self, content: bytes) -> PictureFile:
        return PictureFile(content, self._max_image_pixels, self._image_size)

    def _words_in(self, images: Sequence[PreparedImage | ImageProblem]) -> list[Reading]:
        """What stands in each picture; nothing where nobody reads."""
        if self._ocr is None:
            return []
        words = []
        for image in images:
            found = Reading("")
            if isinstance(image, PreparedImage):
                # its square could be decoded; it has no words where its thumbnail cannot be
                with suppress(ImageError):
                    # what a moderator sees as evidence, and pictures are small enough there
                    found = self._ocr.reading(image.thumbnail, sha256=image.sha256)
            words.append(found)
        return words


def _unseen(images: Sequence[PreparedImage | ImageProblem]) -> tuple[Unread, ...]:
    """What of pictures that were decoded is in none of their frames."""
    return tuple(
        Unread("image", image.unread, index)
        for index, image in enumerate(images)
        if isinstance(image, PreparedImage) and image.unread is not None
    )


def _cut(words: Sequence[Reading]) -> tuple[Unread, ...]:
    """Which pictures hold more words than were read."""
    problem = f"of the words in it, the largest are read, at most {MAX_CHARACTERS} characters"
    return tuple(Unread("image", problem, index) for index, one in enumerate(words) if one.is_cut)
