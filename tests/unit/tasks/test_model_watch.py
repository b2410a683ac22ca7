"""Who is to blame when judging fails: the model, or a post. A model that fails as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch

from deadpan.core.errors import DeviceLost, ModelBroken, NotFinite, OutOfMemory
from models.engines.faults import is_of_device, is_out_of_memory
from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from sources.post import FetchedPost, Post
from tasks.intake.chunks import Entry
from tasks.moderate.model_pass import ModelPass
from tasks.moderate.outcomes import Outcomes
from tasks.moderate.stages import Asked, Fetched
from tasks.watches.model_watch import ModelWatch
from tasks.watches.tries import Tries

GOOD = "good"

OF_THE_DEVICE = [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("[GPU] clFlush, error code: -5 CL_OUT_OF_RESOURCES"),
    DeviceLost("the device failed: it is gone", first=True),
]
OF_MEMORY = [
    MemoryError("Unable to allocate 2.0 GiB"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate"
        " memory: you tried to allocate 8 bytes."
    ),
    OutOfMemory("no memory for texts, one at a time"),
]
OF_A_POST = [
    ValueError("CUDA error is what its author wrote"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    NotFinite("the model gave NaN"),
    KeyError("token"),
]


class Model:
    """In the place of a classifier; `fails` says of what it fails when it judges these texts."""

    def __init__(self, fails: Callable[[list[str]], Exception | None]) -> None:
        self.fails = fails
        self.passes: list[list[str]] = []

    def predict(self, posts: Sequence[PreparedPost], kept: object = None) -> list[Any]:
        texts = [post.text for post in posts]
        self.passes.append(texts)
        if error := self.fails(texts):
            raise error
        return texts

    def prepare_all(
        self, posts: Sequence[tuple[str, Any]], stated_languages: object
    ) -> list[PreparedPost]:
        return [PreparedPost(text, (1,), ()) for text, _ in posts]

    def probe(self) -> None:
        self.predict([PreparedPost(GOOD, (1,), ())])


class Pass:
    """A chunk's way through the model."""

    def __init__(self, fails: Callable[[list[str]], Exception | None]) -> None:
        self.model = Model(fails)
        self.watch = ModelWatch(cast(Classifier, self.model))
        self.outcomes = Outcomes(Tries(3, 1.0))

    def __call__(self, *texts: str, tried_before: bool = False) -> list[str]:
        posts = [
            Fetched(
                Asked(Entry(b"n" + text.encode(), 0), text), FetchedPost(Post(text, text)), text
            )
            for text in texts
        ]
        copies = {post.content_hash: [post] for post in posts}
        model_pass = ModelPass(self.watch, copies, self.outcomes, tried_before=tried_before)
        predicted = model_pass.predict(model_pass.prepare(posts))
        return [each.prepared.fetched.asked.post_id for each in predicted]

    @property
    def blamed(self) -> list[str]:
        return [retry.entry.id_bytes.decode() for retry in self.outcomes.retries]


def test_errors_of_devices_and_of_memory_are_told_from_those_of_posts() -> None:
    assert [is_of_device(error) for error in OF_THE_DEVICE] == [True] * len(OF_THE_DEVICE)
    assert not any(map(is_out_of_memory, OF_THE_DEVICE))
    assert [is_out_of_memory(error) for error in OF_MEMORY] == [True] * len(OF_MEMORY)
    assert not any(map(is_of_device, OF_MEMORY))
    assert not any(map(is_of_device, OF_A_POST))
    assert not any(map(is_out_of_memory, OF_A_POST))
    wrapped = ValueError("cannot judge")
    wrapped.__cause__ = OF_MEMORY[0]
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize("error", [*OF_THE_DEVICE, *OF_MEMORY, *OF_A_POST], ids=repr)
@pytest.mark.parametrize("count", [1, 5])
def test_a_model_that_fails_at_everything_costs_no_post_a_try(error: Exception, count: int) -> None:
    judge = Pass(lambda texts: error)
    with pytest.raises(ModelBroken) as broken:
        judge(*(f"p{n}" for n in range(count)))
    assert broken.value.first
    assert judge.blamed == []
    assert judge.outcomes.dead_letters == []
    asked = len(judge.model.passes)
    assert asked <= 2, "the post that is known to be good settles it"
    with pytest.raises(ModelBroken) as later:
        judge("another")
    assert not later.value.first, "what comes later is not to blame either"
    assert len(judge.model.passes) == asked, "a broken model is asked nothing more"


@pytest.mark.parametrize("error", OF_A_POST, ids=repr)
def test_a_post_that_fails_alone_uses_a_try_and_its_neighbours_are_judged(error: Exception) -> None:
    judge = Pass(lambda texts: error if "bad" in texts else None)
    assert judge("a", "bad", "b", "c") == ["a", "b", "c"]
    assert judge.blamed == ["bad"]
    assert judge("bad") == []
    assert judge.blamed == ["bad", "bad"]
    assert judge.watch.broken is None


@pytest.mark.parametrize("error", [*OF_THE_DEVICE, *OF_MEMORY], ids=repr)
def test_no_post_is_blamed_for_the_device_although_a_good_one_does_well(error: Exception) -> None:
    judge = Pass(lambda texts: error if "bad" in texts else None)
    with pytest.raises(ModelBroken):
        judge("bad")
    assert judge.blamed == []


def test_where_all_of_a_chunk_fail_the_model_is_suspected_once_and_then_the_posts() -> None:
    judge = Pass(lambda texts: None if texts == [GOOD] else ValueError("odd"))
    with pytest.raises(ModelBroken, match="each of 3 posts fails"):
        judge("a", "b", "c")
    assert judge.blamed == []
    fresh = Pass(judge.model.fails)
    assert fresh("a", "b", "c", tried_before=True) == []
    assert fresh.blamed == ["a", "b", "c"]


def test_a_model_that_breaks_while_a_bad_post_is_looked_for_is_found_out() -> None:
    lost: list[str] = []

    def fails(texts: list[str]) -> Exception | None:
        lost.extend(text for text in texts if text == "bad" and len(texts) == 1)
        return ValueError("odd") if lost or "bad" in texts else None

    judge = Pass(fails)
    with pytest.raises(ModelBroken):
        judge("a", "bad", "b")
    assert judge.blamed == []
