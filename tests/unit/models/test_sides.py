"""The fused sentiment from what the words say and what the pictures say."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch
from torch import Tensor

from models.network.features import Features
from models.network.fusion import FusionHead, _joined
from models.network.presets import mini_config

CONFIG = dataclasses.replace(mini_config("test"), sides=True)


def rule(words: int, picture: int) -> int | None:
    """MVSA's: 0 negative, 1 neutral, 2 positive."""
    if words == picture:
        return words
    if 1 in (words, picture):
        return words + picture - 1
    return None


def features(posts: int) -> Features:
    torch.manual_seed(0)
    return Features(
        text=torch.randn(posts, CONFIG.text.dim),
        has_text=torch.ones(posts, dtype=torch.bool),
        image=torch.randn(posts, 1, CONFIG.image.dim),
        image_mask=torch.ones(posts, 1, dtype=torch.bool),
    )


def test_sides_are_joined_as_counting_all_pairs_does() -> None:
    torch.manual_seed(1)
    text, image = 3 * torch.randn(50, 3), 3 * torch.randn(50, 3)
    words, pictures = text.softmax(dim=-1), image.softmax(dim=-1)
    expected = torch.zeros(50, 3)
    for one, other in product(range(3), repeat=2):
        label = rule(one, other)
        if label is not None:
            expected[:, label] += words[:, one] * pictures[:, other]
    expected /= expected.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(_joined(text, image), expected)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_sides_that_are_certain_of_opposites_leave_numbers(kind: torch.dtype) -> None:
    text = torch.tensor([[300.0, 0.0, -300.0]], dtype=kind, requires_grad=True)
    found = _joined(text, -text)
    assert found.isfinite().all()
    assert found.float().sum().item() == pytest.approx(1.0, abs=0.01)
    found[0, 0].log().backward()
    assert text.grad is not None
    assert text.grad.isfinite().all()


def test_fused_is_the_mean_of_the_fusion_and_the_sides() -> None:
    head = FusionHead(CONFIG).eval()
    given = features(4)
    found = head(given)
    sides = _joined(found["text_side"]["sentiment"], found["image_alone"]["sentiment"])
    mean = (found["direct"]["sentiment"].softmax(dim=-1) + sides) / 2
    torch.testing.assert_close(found["fused"]["sentiment"].softmax(dim=-1), mean)
    # with one side only, it is that side's
    alone = head(given._replace(image_mask=torch.zeros(4, 1, dtype=torch.bool)))
    torch.testing.assert_close(alone["fused"]["sentiment"], alone["text_alone"]["sentiment"])


def test_gradients_and_logits_are_finite_however_certain_all_are() -> None:
    head = FusionHead(CONFIG).eval()
    with torch.no_grad():
        for layer in (head.text_side, head.fused.sentiment, head.image_alone.sentiment):
            assert isinstance(layer, torch.nn.Linear)
            layer.bias.copy_(torch.tensor([400.0, 0.0, -400.0]))
    logits: Tensor = head(features(3))["fused"]["sentiment"]
    assert logits.isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
