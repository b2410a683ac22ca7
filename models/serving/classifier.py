"""Predict: posts in, predictions out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from deadpan.core.errors import ModelError
from models.checkpoint.calibration import Array, given
from models.checkpoint.checkpoint import CheckpointInfo, read_info
from models.checkpoint.reading import load_foreign, load_head
from models.engines.base import Engine
from models.engines.choose import choose_device, open_engine
from models.network.config import ModelConfig
from models.network.encoders import check_encoder, encoder_folder
from models.network.foreign import ForeignWords
from models.network.head import Head
from models.posts.ocr import OCR_VERSION, Reader
from models.posts.prediction import ImageProblem, Prediction, PreparedImage, PreparedPost
from models.posts.text import TextPreparer
from models.serving.feature_cache import FeatureCache, FeatureStore, features_identity
from models.serving.post_features import PostFeatures
from models.serving.preprocessing import READING_VERSION, Preparer, Unprepared
from models.serving.read_outs import Deciding, as_arrays, of_windows, predictions_of

WARM_POSTS = 32
"""Posts of the larger of the two batches that warm the way through."""

PROBE_PICTURE = "probe"
"""In place of a file's SHA-256, which no file can have."""

PROBE_TOLERANCE = 0.1
"""Of any probability. The same post in a batch of its own differs by much less: rounding alone
makes 0.01 (see `Classifier.predict`)."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model it is, and where it runs: see `Engine` for the last three.

    Attributes:
        name: for people.
        version: changes with configuration or weights.
        calibration_version: "none" when its probabilities are as trained.
    """

    name: str
    version: str
    calibration_version: str
    device: str
    engine: str
    precision: str


class Classifier:
    """A loaded model. `prepare` and `predict` may be called from several threads at once."""

    info: ModelInfo

    def __init__(
        self,
        checkpoint: CheckpointInfo,
        engine: Engine,
        head: Head,
        preparer: Preparer,
        cache: FeatureCache | None = None,
        foreign: ForeignWords | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.info = ModelInfo(
            name=checkpoint.config.name,
            # How a post is read changes what the model sees, and so its verdicts; and so do words
            # read in pictures.
            version=f"{checkpoint.version}+read{READING_VERSION}"
            + (f"+ocr{OCR_VERSION}" if preparer.reads_pictures else ""),
            calibration_version=checkpoint.calibration.version,
            device=engine.device,
            engine=engine.name,
            precision=engine.precision,
        )
        self._engine = engine
        self._features = PostFeatures(engine, checkpoint.config, cache, foreign)
        self._head = head
        self._preparer = preparer
        self._cache = cache
        self._calibration = checkpoint.calibration
        self._expected: list[float] | None = None

    @classmethod
    def load(
        cls,
        spec: str | Path = "mini",
        *,
        device: str = "auto",
        engine: str = "torch",
        cache_dir: Path | None = None,
        compiled: bool = False,
        max_image_pixels: int = 50_000_000,
        threads: int | None = None,
        ocr: Reader | None = None,
        feature_cache_bytes: int = 0,
        feature_store: FeatureStore | None = None,
    ) -> Self:
        """Load a model.

        Args:
            spec: the name of a preset, or a checkpoint folder.
            device: "auto", "cpu" or "cuda".
            engine: "auto" (the faster one, as measured here), "torch" or "openvino".
            cache_dir: folder where engines keep converted models and what they measured; None
                keeps nothing, and the next start does it again.
            compiled: `torch.compile` the encoders, on a GPU only.
            max_image_pixels: a picture with more is not decoded.
            threads: CPU threads for the whole process; None leaves the engine's choice.
            ocr: reads the words in pictures; None leaves them unread.
            feature_cache_bytes: of memory, for features of pictures that were seen before.
            feature_store: keeps such features for other processes too.

        Raises:
            CheckpointError: the checkpoint or an encoder is missing, altered or does not fit.
            ModelError: the device or the engine is not there, or the engine cannot run the model.
        """
        device = choose_device(device, engine)
        checkpoint = read_info(spec)
        config = checkpoint.config
        # an engine that has kept what it needs never looks at the encoders' own weights
        for encoder in config.encoders:
            check_encoder(encoder)
        opened = open_engine(
            checkpoint,
            engine=engine,
            device=device,
            cache_dir=cache_dir,
            threads=threads,
            compiled=compiled,
        )
        features = None
        if feature_cache_bytes or feature_store is not None:
            features = FeatureCache(
                feature_cache_bytes,
                # The version covers configuration, preprocessing and every trained tensor. The
                # limit is here because a picture above it has no features, but a problem.
                identity=features_identity(
                    model=checkpoint.version,
                    engine=opened.name,
                    device=opened.device,
                    precision=opened.precision,
                    max_image_pixels=max_image_pixels,
                ),
                dim=config.image.dim,
                regions=None if opened.needs_regions else 1,
                store=feature_store,
            )
        preparer = make_preparer(
            config, max_image_pixels=max_image_pixels, ocr=ocr, features=features
        )
        head, foreign = load_head(checkpoint), load_foreign(checkpoint)
        return cls(checkpoint, opened, head, preparer, features, foreign)

    def prepare(
        self,
        text: str,
        images: Sequence[bytes | ImageProblem],
        stated_language: str | None = None,
    ) -> PreparedPost:
        """Prepare one post: see `Preparer.all`. Content never makes this raise."""
        return self._preparer(text, images, stated_language)

    def prepare_all(
        self,
        posts: Sequence[Unprepared],
        stated_languages: Sequence[str | None] | None = None,
    ) -> list[PreparedPost]:
        """Prepare posts together, which is faster. Content never makes this raise."""
        return self._preparer.all(posts, stated_languages)

    def prepare_again(
        self,
        text: str,
        in_pictures: str,
        pictures: Sequence[tuple[bytes, int] | ImageProblem],
        spoken: str | None,
    ) -> PreparedPost:
        """Prepare a post from what was kept of it: see `Preparer.again`."""
        return self._preparer.again(text, in_pictures, pictures, spoken)

    def has_learnt(self, language: str | None) -> bool:
        """Whether posts in this language were among those it learnt sentiment from; of a language
        that nobody can tell, it is taken to be so."""
        return language is None or language in self.checkpoint.config.languages

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of a prepared post's text, or of a part of it: see `TextPreparer.encode`."""
        return self._preparer.text.encode(joined)

    def predict(self, posts: Sequence[PreparedPost]) -> list[Prediction]:
        """Judge posts, in order.

        A prediction depends on its own post only, within 0.01: in bfloat16, sums may be ordered
        by what else is in the batch. The head runs on the CPU in float32; it takes little time.

        Raises:
            NotFinite: a prediction is NaN or infinity.
            DeviceLost, OutOfMemory: see the engine.
        """
        if not posts:
            return []
        has_text, has_image = given(posts)
        logits, windows = self._logits(posts)
        return predictions_of(self._calibration, logits, has_text, has_image, windows)

    def logits(self, posts: Sequence[PreparedPost]) -> dict[str, dict[str, Array]]:
        """What the heads say before calibration.

        Returns:
            By read-out ("fused", "text_alone", "image_alone") and head ("sentiment", "sarcasm"),
            float64 [posts, classes]. A row of a read-out that the post does not have means nothing.
            Of a text in windows, those of the window that decides: see `read_outs.of_windows`.
        """
        return self._logits(posts)[0]

    def _logits(
        self, posts: Sequence[PreparedPost]
    ) -> tuple[dict[str, dict[str, Array]], Deciding]:
        """What the heads say of each post, and which window of its text they say it of."""
        found = [self._head(self._features(rows)) for rows in _passes(posts)]
        if self._cache is not None:
            self._cache.save()
        return of_windows(as_arrays(found), [max(1, len(post.windows)) for post in posts])

    def warm(self) -> None:
        """Run the usual shapes once, so that no post waits while kernels are set up."""
        self._engine.warm()
        size = self.checkpoint.config.image_size
        blank = np.zeros((size, size, 3), dtype=np.uint8)
        words = self.prepare("living my best life", [])
        pictures = [PreparedImage(str(index), [blank], blank) for index in range(WARM_POSTS)]
        for count in (1, WARM_POSTS):
            self.predict([replace(words, images=(picture,)) for picture in pictures[:count]])
        self._expected = self._of_probe()

    @property
    def fault(self) -> str | None:
        """What the device failed of, for good, or None."""
        return self._engine.fault

    def probe(self) -> None:
        """Judge a post that is known to be good, of words and a picture, as `warm` judged it.

        Raises:
            NotFinite, DeviceLost, OutOfMemory: as `predict`.
            ModelError: its scores have changed.
            Exception: whatever else a broken model raises.
        """
        found = self._of_probe()
        if self._expected is None:
            self._expected = found
        difference = max(abs(one - other) for one, other in zip(found, self._expected, strict=True))
        if difference > PROBE_TOLERANCE:
            raise ModelError(
                f"the scores of the post that tests the model have changed since the start, by "
                f"{difference:.2f}; restart the worker"
            )

    def _of_probe(self) -> list[float]:
        size = self.checkpoint.config.image_size
        ramp = np.linspace(0, 255, size).astype(np.uint8)
        pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], ramp[::-1, None]), -1)
        words = self.prepare("living my best life", [])
        # made by us and no file's, so its features are computed and never kept
        picture = PreparedImage(PROBE_PICTURE, (np.ascontiguousarray(pixels),), pixels)
        (told,) = self.predict([replace(words, images=(picture,))])
        return [
            number
            for scores in (told.fused, told.text_alone, told.image_alone)
            if scores is not None
            for number in (*scores.sentiment, scores.sarcasm)
        ]


def _passes(posts: Sequence[PreparedPost]) -> Iterator[list[PreparedPost]]:
    """The posts, those with windows once for each window, in passes of bounded size: `MAX_WINDOWS`
    times as many rows would take as much more memory. A post is in one pass, as are its pictures.
    """
    most = max(len(posts), WARM_POSTS)
    rows: list[PreparedPost] = []
    for post in posts:
        if post.windows:
            if rows and len(rows) + len(post.windows) > most:
                yield rows
                rows = []
            rows += [
                replace(post, text=one.text, token_ids=one.token_ids, windows=())
                for one in post.windows
            ]
        elif len(rows) >= most:
            yield rows
            rows = [post]
        else:
            rows.append(post)
    if rows:
        yield rows


def make_preparer(
    config: ModelConfig,
    *,
    max_image_pixels: int,
    ocr: Reader | None = None,
    features: FeatureCache | None = None,
) -> Preparer:
    """The `Preparer` that goes with a model; CheckpointError if its text encoder is not there."""
    text = TextPreparer(encoder_folder(config.text), max_tokens=config.max_tokens)
    return Preparer(
        text,
        image_size=config.image_size,
        max_image_pixels=max_image_pixels,
        ocr=ocr,
        features=features,
    )
