"""What the encoders say of a batch of prepared posts; of a picture that is known, nothing new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.engines.base import Engine, Floats, encode_pictures
from models.network.config import ModelConfig
from models.network.features import Features
from models.network.foreign import ForeignWords, is_foreign
from models.posts.prediction import SENTIMENTS, PreparedImage, PreparedPost
from models.serving.feature_cache import FeatureCache

Array = npt.NDArray[Any]


class PostFeatures:
    """Encodes posts with an engine. Safe to use from several threads.

    Args:
        engine: encodes token ids and pixels.
        config: of the model.
        cache: features of pictures that were seen before; None keeps none.
        foreign: reads words that are not English; None where the model has no such thing.
    """

    def __init__(
        self,
        engine: Engine,
        config: ModelConfig,
        cache: FeatureCache | None,
        foreign: ForeignWords | None = None,
    ) -> None:
        self._engine = engine
        self._config = config
        self._cache = cache
        self._foreign = foreign

    def __call__(self, posts: Sequence[PreparedPost]) -> Features[Array]:
        """Encode one post or more."""
        config = self._config
        count = len(posts)
        has_text = np.array([bool(post.token_ids) for post in posts])
        text = np.zeros((count, config.text.dim), np.float32)
        tokens: list[Floats] = []
        rows = [row for row, post in enumerate(posts) if post.token_ids]
        if rows:
            ids = [posts[row].token_ids for row in rows]
            text[rows], tokens = self._engine.encode_texts(ids)
        seen = [
            [image for image in post.images if isinstance(image, PreparedImage)] for post in posts
        ]
        # one picture posted many times is computed once
        distinct = {image.sha256: image for images in seen for image in images}
        places = {sha256: row for row, sha256 in enumerate(distinct)}
        index = np.full((count, max(1, *map(len, seen), 1)), -1)
        for row, images in enumerate(seen):
            index[row, : len(images)] = [places[image.sha256] for image in images]
        regions = np.zeros((1, 1, config.image.dim), np.float32)
        if distinct:
            regions = self._regions(list(distinct.values()))
        whole = regions[:, 0] if config.image.pools_itself else regions.mean(axis=1)
        chosen = np.maximum(index, 0)
        found = Features[Array](text, has_text, image=whole[chosen], image_mask=index >= 0)
        if config.needs_regions:
            longest = max(1, *(len(post.token_ids) for post in posts), 1)
            states = np.zeros((count, longest, config.text.dim), np.float32)
            mask = np.zeros((count, longest), bool)
            for row, state in zip(rows, tokens, strict=True):
                states[row, : len(state)] = state
                mask[row, : len(state)] = True
            found = found._replace(tokens=states, token_mask=mask, regions=regions[chosen])
        return self.with_foreign(found, posts)

    def with_foreign(
        self, features: Features[Array], posts: Sequence[PreparedPost]
    ) -> Features[Array]:
        """The same, with what words that are not English say, of the post of each row."""
        if self._foreign is None:
            return features
        rows = [row for row, post in enumerate(posts) if is_foreign(post)]
        logits = np.zeros((len(posts), len(SENTIMENTS)), np.float32)
        is_there = np.zeros(len(posts), bool)
        logits[rows] = self._foreign([posts[row].text for row in rows])
        is_there[rows] = True
        return features._replace(foreign=logits, is_foreign=is_there)

    def _regions(self, images: Sequence[PreparedImage]) -> Floats:
        """float32 [pictures, regions, dim]; only those whose features are not known are encoded."""
        if self._cache is None:
            return encode_pictures(self._engine, images)
        # Another chunk may have encoded a picture since this one was prepared.
        known = self._cache.in_memory(image.sha256 for image in images)
        known |= {image.sha256: image.features for image in images if image.features is not None}
        fresh = [image for image in images if image.sha256 not in known]
        if fresh:
            encoded = encode_pictures(self._engine, fresh)
            # Rounded as the cache rounds them, so that a picture has the same features ever after.
            for image, features in zip(fresh, encoded.astype(np.float16), strict=True):
                known[image.sha256] = features
                # what was not seen of a file is known only while it is decoded
                if image.file is not None and image.unread is None:
                    self._cache.add(image.sha256, features)
        return np.stack([known[image.sha256] for image in images]).astype(np.float32)
