"""What the encoders say of a batch of prepared posts; of a picture that is known, nothing new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.engines.base import Engine, encode_pictures
from models.network.config import ModelConfig
from models.network.foreign import ForeignWords, is_foreign
from models.network.fusion import Features
from models.network.network import make_features
from models.posts.prediction import SENTIMENTS, PreparedImage, PreparedPost
from models.serving.feature_cache import FeatureCache


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

    def __call__(self, posts: Sequence[PreparedPost]) -> Features:
        """Encode one post or more."""
        config = self._config
        count = len(posts)
        has_text = torch.tensor([bool(post.token_ids) for post in posts])
        longest = max(1, *(len(post.token_ids) for post in posts), 1)
        text = torch.zeros(count, config.text.dim)
        states = torch.zeros(count, longest, config.text.dim)
        mask = torch.zeros(count, longest, dtype=torch.int64)
        if has_text.any():
            rows = has_text.nonzero().flatten().tolist()
            ids = [posts[row].token_ids for row in rows]
            pooled, tokens = self._engine.encode_texts(ids)
            text[rows] = pooled
            for row, state in zip(rows, tokens, strict=False):
                states[row, : len(state)] = state
                mask[row, : len(state)] = 1
        seen = [
            [image for image in post.images if isinstance(image, PreparedImage)] for post in posts
        ]
        # one picture posted many times is computed once
        distinct = {image.sha256: image for images in seen for image in images}
        index = torch.full((count, max(1, *map(len, seen), 1)), -1)
        regions = torch.zeros(0, 1, config.image.dim)
        if distinct:
            regions = self._regions(list(distinct.values()))
            places = {sha256: row for row, sha256 in enumerate(distinct)}
            for row, images in enumerate(seen):
                for column, image in enumerate(images):
                    index[row, column] = places[image.sha256]
        found = make_features(self._config, text, states, mask, has_text, regions, index)
        return self.with_foreign(found, posts)

    def with_foreign(self, features: Features, posts: Sequence[PreparedPost]) -> Features:
        """The same, with what words that are not English say, of the post of each row."""
        if self._foreign is None:
            return features
        rows = [row for row, post in enumerate(posts) if is_foreign(post)]
        logits = torch.zeros(len(posts), len(SENTIMENTS))
        logits[rows] = torch.from_numpy(self._foreign([posts[row].text for row in rows]))
        is_there = torch.zeros(len(posts), dtype=torch.bool)
        is_there[rows] = True
        return features._replace(foreign=logits, is_foreign=is_there)

    def _regions(self, images: Sequence[PreparedImage]) -> Tensor:
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
            for image, features in zip(fresh, encoded.numpy().astype(np.float16), strict=True):
                known[image.sha256] = features
                # what was not seen of a file is known only while it is decoded
                if image.file is not None and image.unread is None:
                    self._cache.add(image.sha256, features)
        return torch.from_numpy(np.stack([known[image.sha256] for image in images])).float()
