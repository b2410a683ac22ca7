"""What a fusion head is given, by torch in training or by NumPy in serving."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
"""Arrays or tensors."""


class Features(NamedTuple, Generic[T]):
    """What the encoders say of a batch.

    Legend: `batch` posts; `tokens` of the longest text; `images` of the post with most of them;
    `regions` of an image; `text_dim` and `image_dim` widths.

    Attributes:
        text: float [batch, text_dim], pooled; rows without words are ignored.
        has_text: bool [batch].
        image: float [batch, images, image_dim], each image pooled over its regions.
        image_mask: bool [batch, images], false where a post has fewer images.
        tokens: float [batch, tokens, text_dim]; only for cross attention.
        token_mask: bool [batch, tokens]; only for cross attention.
        regions: float [batch, images, regions, image_dim]; only for cross attention.
        foreign: float [batch, sentiments]: what words that are not English say, as logits; None
            where nobody reads them so (`models.network.foreign`).
        is_foreign: bool [batch]: whose words they are.
    """

    text: T
    has_text: T
    image: T
    image_mask: T
    tokens: T | None = None
    token_mask: T | None = None
    regions: T | None = None
    foreign: T | None = None
    is_foreign: T | None = None
