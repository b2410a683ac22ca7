"""The stages that a post goes through on its way to a verdict: one type each.

    Asked -> Fetched -> Prepared -> Predicted   one post of each content goes as far as this
             Fetched -> Decided                 every post, with what the model said of its content

Between Asked and Fetched a post may be Awaited: its words are there, its pictures on their way.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from deadpan.core import spans
from models.posts.prediction import ImageProblem, Prediction, PreparedPost
from models.serving.known_posts import KnownPost
from sources.pictures.awaited import AwaitedPost
from sources.post import FetchedImage, FetchedPost
from storage.base.text import UNKNOWN_LANGUAGE, primary_language
from tasks.intake.chunks import Entry
from tasks.policy.looks import Look
from tasks.policy.rules import LANGUAGE, Reason


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A post that is to be judged, known by its id alone."""

    entry: Entry
    post_id: str

    @property
    def log_fields(self) -> dict[str, str]:
        """What log lines name it by."""
        return {"post_id": self.post_id, "trace_id": self.entry.trace.trace_id}


@dataclass(frozen=True, slots=True, eq=False)
class Awaited:
    """A post whose pictures are still being downloaded."""

    asked: Asked
    post: AwaitedPost

    def fetched(self, hashes: dict[int, str]) -> Fetched:
        """The post with the pictures that came; the others are given up. See `Fetched.of`."""
        return Fetched.of(self.asked, self.post.fetched(), hashes)


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """A post with its words and its pictures' files.

    Attributes:
        content_hash: of its words, undecoded files and the language that its platform states: the
            same content, the same prediction.
    """

    asked: Asked
    post: FetchedPost
    content_hash: str

    @classmethod
    def of(cls, asked: Asked, post: FetchedPost, hashes: dict[int, str]) -> Fetched:
        """A post as it was fetched.

        Args:
            hashes: by the identity of a file's bytes; used for all posts that are fetched together,
                so that a picture that several of them name is hashed once.
        """
        files = _file_hashes(post.images, hashes)
        return cls(asked, post, content_hash(post.post.text, files, _stated(post)))

    @property
    def text(self) -> str:
        """As its author wrote it."""
        return self.post.post.text

    @property
    def stated_language(self) -> str | None:
        """As its platform states it, such as `pt` of `pt-BR`; None where it states none."""
        return _stated(self.post)

    @property
    def files(self) -> list[bytes | ImageProblem]:
        """The pictures' files, or why one is not there."""
        return [
            ImageProblem(_missing(image)) if image.content is None else image.content
            for image in self.post.images
        ]

    @property
    def may_get_pictures(self) -> bool:
        """Whether a picture that is missing may come later."""
        return any(image.transient for image in self.post.images)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A post as the model reads it."""

    fetched: Fetched
    ready: PreparedPost


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A post that the model has judged."""

    prepared: Prepared
    prediction: Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """A post on which the policy has spoken.

    Attributes:
        known: what the model said of its content, now or before.
        degraded: pictures that could not be seen and why, as a verdict has them.
        reasons: why it is flagged, most urgent first; none where it is not.
        unlearnt: whether it is in a language that the model never learnt.
        look: at a post that is not flagged, where it was drawn.
        blind: whether its flag is shown without why.
    """

    fetched: Fetched
    known: KnownPost
    degraded: Sequence[Mapping[str, object]]
    reasons: Sequence[Reason]
    unlearnt: bool = False
    look: Look | None = None
    blind: bool = False

    @property
    def flagged_for(self) -> str:
        """The score that a flagged post is flagged for first of all; its language is none."""
        names = [str(condition["score"]) for condition in self.reasons[0].conditions]
        return next((name for name in names if name != LANGUAGE), LANGUAGE)


def content_hash(text: str, image_hashes: Iterable[str], language: str | None = None) -> str:
    """SHA-256 in hexadecimal of a post's words and pictures, and of the language that its platform
    states, where it does."""
    stated = [] if language is None else [{"language": language}]
    # ASCII, so that lone surrogates do no harm
    content = json.dumps([text, *image_hashes, *stated])
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def degraded_images(post: FetchedPost, problems: Sequence[str | None]) -> list[dict[str, object]]:
    """The images that could not be seen, and why, as a verdict has them.

    Args:
        problems: see `KnownPost`; of a file that is missing, each post has its own.
    """
    found: list[dict[str, object]] = []
    for index, (image, problem) in enumerate(zip(post.images, problems, strict=True)):
        why = _missing(image) if image.content is None else problem
        if why is not None:
            found.append({"image": index, "location": image.location, "problem": why})
    return found


@contextmanager
def timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    """Add the seconds of the block to those of a stage; log lines in it name the stage.

    Args:
        stage: such as "fetch".
        timings: seconds by stage; not changed where the block raises.
    """
    started = time.perf_counter()
    with structlog.contextvars.bound_contextvars(stage=stage), spans.span(stage):
        yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - started


def _file_hashes(images: Sequence[FetchedImage], hashes: dict[int, str]) -> Iterator[str]:
    for image in images:
        if image.content is None:
            yield "not there"
            continue
        key = id(image.content)
        if key not in hashes:
            hashes[key] = hashlib.sha256(image.content).hexdigest()
        yield hashes[key]


def _stated(post: FetchedPost) -> str | None:
    found = primary_language(post.post.language)
    return None if found == UNKNOWN_LANGUAGE else found


def _missing(image: FetchedImage) -> str:
    return image.problem or "it could not be fetched"
