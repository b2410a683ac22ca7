"""Stages learn labellings with heads of their own, and are taken up where another run left them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from deadpan.core.errors import DataError
from models.data.records import LabelledPost
from models.evaluation.judge import Answers, labels_of, measure_answers
from models.network.network import Network
from models.serving.classifier import Classifier
from models.training.module import TrainingModule, augmented
from models.training.recipe import Recipe
from models.training.run import configure
from models.training.settings import DataFile, Stage
from models.training.targets import own_heads, targets_of

from .conftest import SETTINGS, STAGE, Toy, sarcasm_posts, write_posts

ONE = dataclasses.replace(STAGE, epochs=1, average_last=0.5)


def test_two_labellings_teach_one_answer(toy: Toy, tmp_path: Path) -> None:
    labelled = [
        DataFile(sarcasm_posts(tmp_path, name, numbers), labelling=name)
        for name, numbers in (("irony", range(80)), ("authors", range(200, 280)))
    ]
    files = dataclasses.replace(toy.afresh(tmp_path), train=(toy.train[0], *labelled))
    stage = dataclasses.replace(STAGE, average_last=0.5)
    result = files.run(tmp_path / "model", stage)
    sarcasm = result.scores["doubt.jsonl"]["all"]["sarcasm"]
    assert sarcasm["fused"]["accuracy"]["value"] > 0.8
    # what is said of a post without words follows how frequent the label is
    classifier = Classifier.load(result.path, device="cpu")
    (nothing,) = classifier.predict([classifier.prepare("", [])])
    assert nothing.fused.sarcasm == pytest.approx(0.5, abs=0.1)


def test_a_stage_that_no_dev_file_measures_has_to_average(toy: Toy, tmp_path: Path) -> None:
    irony = DataFile(
        sarcasm_posts(tmp_path, "irony", range(20)), labelling="irony", auxiliary=("sarcasm",)
    )
    files = dataclasses.replace(toy.afresh(tmp_path), train=(irony,))
    with pytest.raises(DataError, match=r"no dev file has a label .* or set average_last"):
        files.run(tmp_path / "model", dataclasses.replace(STAGE, epochs=1))
    told: list[str] = []
    files.run(tmp_path / "model", ONE, report=told.append)
    assert any("epoch 1 of at most 1: loss" in line and "dev score" not in line for line in told)


def test_posts_that_are_labelled_for_nothing_that_is_asked_are_left_out(
    toy: Toy, tmp_path: Path
) -> None:
    posts = [{"id": str(i), "text": f"you {i}", "offensive": bool(i % 2)} for i in range(20)]
    extra = DataFile(write_posts(tmp_path / "extra.jsonl", posts))
    files = dataclasses.replace(toy.afresh(tmp_path), train=(*toy.train, extra))
    assert files.run(tmp_path / "model", ONE).removed.unlabelled == 20


def test_a_run_that_begins_alike_takes_the_stages_that_are_finished(
    toy: Toy, tmp_path: Path
) -> None:
    first = dataclasses.replace(ONE, name="words", train={"irony.jsonl": 1})
    second = dataclasses.replace(ONE, name="pairs", train={"Toy": 1})
    files = toy.afresh(tmp_path)
    files.run(tmp_path / "model", first)

    def finished(other: Toy, *stages: Stage, **changed: object) -> bool:
        told: list[str] = []
        settings = dataclasses.replace(SETTINGS, **changed)  # type: ignore[arg-type]
        other.run(tmp_path / "model", *stages, settings=settings, report=told.append)
        return "stage words: already finished" in told

    # another stage after it, and another file that it does not learn from, with other labels
    emotions = [{"id": str(i), "text": f"oh {i}", "emotion": "ab"[i % 2]} for i in range(20)]
    more = DataFile(write_posts(tmp_path / "more.jsonl", emotions), labelling="more")
    assert finished(files, first, second)
    after = dataclasses.replace(second, name="after", train={"more.jsonl": 1})
    assert finished(dataclasses.replace(files, train=(*files.train, more)), first, after)
    # another setting, another file
    assert not finished(files, dataclasses.replace(first, learning_rate=1e-3))
    assert not finished(files, first, dropout=0.2)
    irony = DataFile(sarcasm_posts(tmp_path, "irony", range(50)))
    assert not finished(dataclasses.replace(files, train=(toy.train[0], irony)), first)


def test_texts_that_a_frozen_encoder_knows_give_the_same_loss() -> None:
    network = Network(configure(Recipe("x", (), ())))
    targets = targets_of(network.config, (), ())
    module = TrainingModule(network, STAGE, targets, own_heads(targets, 384)).eval()
    batch = {
        "token_ids": torch.tensor([[101, 2293, 2023, 102], [101, 6854, 102, 0], [0, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]]),
        "has_text": torch.tensor([True, True, False]),
        "pictures": torch.randn(1, 1, 1280 + 2 * 320),
        "image_index": torch.tensor([[0], [-1], [-1]]),
        "labels": torch.tensor([[0, 1], [2, -1], [1, 0]]),
        "weights": torch.ones(3, 2),
    }
    first, again = (module(**batch)["loss"] for _ in range(2))
    assert torch.equal(first, again)
    # as another module that encodes the same texts, in another company, with more padding
    another = TrainingModule(network, STAGE, targets, own_heads(targets, 384)).eval()
    longer = dict(batch)
    for name in ("token_ids", "attention_mask"):
        longer[name] = torch.nn.functional.pad(batch[name], (0, 3))
    torch.testing.assert_close(another(**longer)["loss"], first)
    torch.testing.assert_close(module(**longer)["loss"], first)
    assert len(module._texts) == 3


def test_pictures_are_moved_by_chance_and_stay_pictures() -> None:
    pictures = torch.randint(0, 255, (4, 32, 48, 3), dtype=torch.uint8)

    def at(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return augmented(pictures)

    assert at(0).shape == pictures.shape
    assert at(0).dtype == torch.uint8
    assert torch.equal(at(0), at(0))
    assert not torch.equal(at(0), at(1))
    expected = at(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(at(0), expected)


@pytest.mark.parametrize(("chance", "mirrored"), [(0.9, False), (0.1, True)])
def test_a_picture_at_its_own_scale_is_itself_or_its_mirror_image(
    monkeypatch: pytest.MonkeyPatch, chance: float, mirrored: bool
) -> None:
    pictures = torch.randint(0, 255, (2, 16, 16, 3), dtype=torch.uint8)
    drawn = iter([0.0, 0.5, chance])  # scale, shift, mirror
    monkeypatch.setattr(torch, "rand", lambda *size, **where: torch.full(size, next(drawn)))
    assert torch.equal(augmented(pictures), pictures.flip(2) if mirrored else pictures)


def test_pictures_alone_are_measured_against_the_label_of_their_side() -> None:
    posts = [
        LabelledPost("1", "a", sentiment="positive", image_sentiment="neutral"),
        LabelledPost("2", "b", sentiment="negative", text_sentiment="neutral"),
    ]
    says = {
        "fused": ("positive", "negative"),
        "text_alone": ("positive", "neutral"),
        "image_alone": ("neutral", "negative"),
    }
    names = ("negative", "neutral", "positive")
    answers = {
        read_out: Answers(
            {"sentiment": np.eye(3)[[names.index(one) for one in said]]}, np.ones(2, dtype=bool)
        )
        for read_out, said in says.items()
    }
    measured = measure_answers(answers, labels_of(posts))
    for read_out in says:
        assert measured["sentiment"][read_out]["accuracy"]["value"] == 1.0, read_out
    assert measured["sarcasm"] is None
