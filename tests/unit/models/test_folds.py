"""Cross-validation keeps posts that are alike together and measures every post once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deadpan.cli import app
from deadpan.core.errors import DataError
from models.data.records import LabelledPost
from models.evaluation.metrics import measure
from models.training.corpus import Row
from models.training.folds import UNREAD, cross_validate, folds_of, groups_of, picture_hash
from models.training.recipe import Recipe
from models.training.settings import Stage

from .conftest import SETTINGS, STAGE, Toy, write_posts


def row(text_key: str, *image_keys: str) -> Row:
    return Row(LabelledPost(text_key, text_key), 0, text_key, (1,), image_keys)


def test_posts_that_share_words_a_file_or_a_picture_are_one_group() -> None:
    rows = [row("a", "1"), row("b", "2"), row("a", "3"), row("", "2"), row("c", "4"), row("", "5")]
    hashes = [[0], [0xFF00], [0xFF0000], [0xFF00], [0xFF0003], []]
    groups = groups_of(rows, hashes).tolist()
    # 0 and 2 by words, 2 and 4 by near pictures, 1 and 3 by the file; 5 has nothing of others
    assert groups == [0, 1, 0, 1, 0, 5]
    assert groups_of(rows, hashes, same=1).tolist() == [0, 1, 0, 1, 4, 5]


def test_a_picture_keeps_its_hash_when_it_is_scaled_and_compressed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def drawn() -> Image.Image:
        coarse = random.integers(0, 255, (7, 7, 3)).astype(np.uint8)
        return Image.fromarray(coarse).resize((300, 200), Image.Resampling.BICUBIC)

    picture, other = drawn(), drawn()
    picture.resize((150, 100)).save(tmp_path / "small.jpg", quality=60)
    small = np.asarray(Image.open(tmp_path / "small.jpg"))
    first = picture_hash(np.asarray(picture))
    assert (first ^ picture_hash(small)).bit_count() <= 2
    assert (first ^ picture_hash(np.asarray(other))).bit_count() > 12


def test_a_group_is_in_one_fold_whatever_order_the_posts_have() -> None:
    rows = [row(f"post {index // 2}") for index in range(60)]
    groups = groups_of(rows, [[]] * 60)
    found = folds_of(rows, groups, 3)
    assert set(found.tolist()) == {0, 1, 2}
    assert (found[::2] == found[1::2]).all()
    back = rows[::-1]
    assert (folds_of(back, groups_of(back, [[]] * 60), 3)[::-1] == found).all()


def test_fewer_groups_than_folds_are_refused() -> None:
    rows = [row("same")] * 9
    with pytest.raises(DataError, match=r"9 posts in 1 groups.*leave 4 of 5 folds empty"):
        folds_of(rows, groups_of(rows, [[]] * 9), 5)


def test_intervals_over_groups_are_those_of_the_groups() -> None:
    """Ten posts that are alike tell no more than one."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 40)
    answers = np.where(random.random((40, 1)) < 0.7, np.eye(2)[labels], np.eye(2)[1 - labels])
    once = measure(answers, labels, ("no", "yes"))
    groups = np.repeat(np.arange(40), 10)
    many = measure(np.repeat(answers, 10, 0), np.repeat(labels, 10), ("no", "yes"), groups=groups)
    assert once is not None
    assert many is not None
    assert many["n"] == 400
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        assert many[name] == pytest.approx(once[name])


def test_every_post_is_measured_once_and_other_stages_are_trained_once(
    toy: Toy, tmp_path: Path
) -> None:
    words = dataclasses.replace(STAGE, name="words", train={"irony.jsonl": 1}, epochs=1)
    pairs = dataclasses.replace(STAGE, name="pairs", train={"Toy": 1}, average_last=0.5)
    words = dataclasses.replace(words, average_last=0.5)
    recipe = Recipe("toy", toy.train, toy.dev, (words, pairs), SETTINGS)
    told: list[str] = []
    found = cross_validate(
        recipe,
        "Toy",
        [toy.dev[0].path],
        folds=2,
        cache_dir=tmp_path / "cache",
        device="cpu",
        report=told.append,
    )
    assert sum(found["posts"]) == 90
    assert len(found["posts"]) == 2
    sentiment = found[UNREAD]["sentiment"]
    assert sentiment["fused"]["n"] == sentiment["text_alone"]["n"] == 90
    assert sentiment["image_alone"]["n"] == 45
    assert sentiment["fused"]["accuracy"]["value"] > 0.5
    assert found[UNREAD]["sarcasm"] is None
    assert json.loads(json.dumps(found)) == found
    assert told.count("stage words: already finished") == 1
    assert "stage pairs: already finished" not in told


def test_files_that_the_recipe_does_not_have_are_named(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe("toy", toy.train, toy.dev, (Stage(),), SETTINGS)
    with pytest.raises(DataError) as caught:
        cross_validate(recipe, "mvsa", [tmp_path / "x"], folds=2, cache_dir=tmp_path / "cache")
    assert "'mvsa' is no file of the recipe; use one of: Toy, irony.jsonl" in caught.value.problems
    assert any("x is no dev file of the recipe" in one for one in caught.value.problems)


def test_the_command_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = write_posts(tmp_path / "a.jsonl", [{"id": "1", "text": "a", "sentiment": "neutral"}])
    recipe = tmp_path / "own.toml"
    recipe.write_text(f"[[stage]]\n[[train]]\nkey = 'a'\nfile = '{file.name}'\n")
    options = ["--recipe", str(recipe), "--data", str(tmp_path), "--of", "b"]
    result = CliRunner().invoke(app, ["cross-validate", *options])
    assert result.exit_code != 0
    assert "'b' is no file of the recipe; use one of: a" in str(result.exception)
