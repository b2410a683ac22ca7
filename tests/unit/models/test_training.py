"""Training learns, repeats, goes on after an interruption, and refuses what it cannot do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from deadpan.core.errors import CheckpointError, DataError, ModelError
from models.checkpoint.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_info
from models.data.posts_file import LabelledPost, read_posts
from models.evaluation.judge import judge, measure_judged
from models.serving.classifier import Classifier
from models.training.corpus import Row
from models.training.dataset import PostSet
from models.training.features import FeatureCache
from models.training.fit import Average
from models.training.recipe import Recipe, load_recipe, recipe_names
from models.training.run import TrainingResult, configure
from models.training.settings import DataFile, Settings, Stage

from .conftest import SETTINGS, STAGE, Toy, write_posts


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_file(path / WEIGHTS_FILE) for path in (first, second))
    return all(bool((one[name] == other[name]).all()) for name in one)


def test_training_learns_what_the_posts_teach(trained: TrainingResult) -> None:
    sentiment = trained.scores["check.jsonl"]["all"]["sentiment"]
    assert sentiment["fused"]["n"] == 30
    assert sentiment["fused"]["accuracy"]["value"] > 0.8
    assert sentiment["text_alone"]["accuracy"]["value"] > 0.8
    assert sentiment["image_alone"]["n"] == 15
    sarcasm = trained.scores["doubt.jsonl"]["all"]["sarcasm"]
    assert sarcasm["fused"]["accuracy"]["value"] > 0.8
    assert sarcasm["image_alone"] is None


def test_dev_posts_are_kept_out_of_training_and_counted(trained: TrainingResult) -> None:
    # of the 40 texts of "doubt", 20 stand in "irony"
    assert trained.removed.text_in_dev == 20
    assert trained.scores["doubt.jsonl"]["unseen"]["sarcasm"]["fused"]["n"] == 20
    assert trained.scores["check.jsonl"]["unseen"]["sentiment"]["fused"]["n"] == 30
    document = json.loads((trained.path / CONFIG_FILE).read_text())
    assert document["data"]["removed_from_train"]["text_in_dev"] == 20
    assert [file["posts"] for file in document["data"]["train"]] == [60, 80]


def test_what_is_left_out_is_listed_by_line_before_training_starts(
    toy: Toy, tmp_path: Path
) -> None:
    told: list[str] = []
    learnt = [{"id": f"{i}", "text": f"love it {i}", "sentiment": "positive"} for i in range(20)]
    held = [{"id": "d", "text": "hm", "sentiment": "neutral"}, {**learnt[4], "text": "LOVE it 4"}]
    again = {**learnt[0], "id": "again"}
    train_file = write_posts(tmp_path / "learn.jsonl", [*learnt, again])
    dev_file = write_posts(tmp_path / "dev.jsonl", held)
    other = dataclasses.replace(
        toy, train=(DataFile(train_file),), dev=(DataFile(dev_file),), cache=tmp_path / "cache"
    )
    other.run(tmp_path / "model", dataclasses.replace(STAGE, epochs=1), report=told.append)
    expected = [
        f"{train_file}:5: the same words are in {dev_file}:2; not used for training",
        f"{train_file}:21: the same words, pictures and labels are in {train_file}:1; "
        "not used for training",
    ]
    assert (tmp_path / "cache/left-out.txt").read_text().splitlines() == expected
    started = next(index for index, line in enumerate(told) if line.startswith("learning from"))
    assert [line for line in told[:started] if "not used for training" in line] == expected
    assert "left out 1 whose words" in told[started]


@pytest.mark.parametrize(("share", "seen"), [(0.0, {(1,)}), (1.0, {(1, 2)}), (0.5, {(1,), (1, 2)})])
def test_words_in_pictures_join_as_often_as_the_recipe_says(
    toy: Toy, share: float, seen: set[tuple[int, ...]]
) -> None:
    post = LabelledPost("1", "a", sentiment="neutral")
    row = Row(post, 0, "a", token_ids=(1,), image_keys=(), ocr_token_ids=(1, 2))
    cache = FeatureCache(toy.cache, {}, "float16")
    files = [DataFile(Path("x"))]
    posts = PostSet([row], files, (), cache, ocr_share=share)
    torch.manual_seed(0)
    assert {posts[0]["token_ids"] for _ in range(50)} == seen
    # a post whose pictures hold no words keeps its own
    silent = dataclasses.replace(row, ocr_token_ids=())
    assert PostSet([silent], files, (), cache, ocr_share=1.0)[0]["token_ids"] == (1,)


def test_a_stage_may_end_with_the_mean_of_its_last_weights(tmp_path: Path) -> None:
    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))

    arguments, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()

    def steps(module: Module, average: Average, numbers: range) -> None:
        for number in numbers:
            module.weight.data.fill_(float(number))
            state = TrainerState(global_step=number, max_steps=8)
            average.on_step_end(arguments, state, control)

    module = Module()
    average = Average(module, 0.5)
    steps(module, average, range(1, 9))
    average.apply()
    assert module.weight.tolist() == [6.5, 6.5]  # of 5, 6, 7 and 8

    # killed after the sixth step
    first, resumed = Module(), Module()
    before = Average(first, 0.5)
    steps(first, before, range(1, 7))
    before.save(tmp_path)
    after = Average(resumed, 0.5)
    after.load(str(tmp_path))
    steps(resumed, after, range(7, 9))
    after.apply()
    assert resumed.weight.tolist() == [6.5, 6.5]


def test_the_same_seed_gives_the_same_model_and_another_does_not(
    toy: Toy, trained: TrainingResult, tmp_path: Path
) -> None:
    toy = toy.afresh(tmp_path)
    assert toy.run(tmp_path / "again").version == trained.version
    other = toy.run(tmp_path / "other", settings=dataclasses.replace(SETTINGS, seed=2))
    assert other.version != trained.version


def test_an_interrupted_run_goes_on_and_ends_with_the_same_model(
    toy: Toy, trained: TrainingResult, tmp_path: Path
) -> None:
    toy = toy.afresh(tmp_path)
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        if "epoch 2 of" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.run(tmp_path / "model", report=interrupt)
    assert not (tmp_path / "model").exists()
    resumed: list[str] = []
    result = toy.run(tmp_path / "model", report=resumed.append)
    assert any("resuming from" in line for line in resumed)
    assert not any("epoch 1 of" in line for line in resumed)
    assert same_weights(result.path, trained.path)
    assert result.version == trained.version
    # of the states of its epochs nothing stays but how the stage ended
    assert [path.suffix for path in (toy.cache / "runs").iterdir()] == [".safetensors"]


def test_a_damaged_feature_cache_is_computed_again(
    toy: Toy, trained: TrainingResult, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(toy.cache / "features", cache / "features")
    shards = sorted((cache / "features").glob("*/*.npz"))
    assert shards
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:100])
    again = dataclasses.replace(toy, cache=cache).run(tmp_path / "again")
    assert again.version == trained.version


def test_a_loss_that_is_no_number_stops_training_and_writes_nothing(
    toy: Toy, trained: TrainingResult, tmp_path: Path
) -> None:
    stage = dataclasses.replace(STAGE, learning_rate=1e30, encoder_learning_rate=1e30)
    with pytest.raises(ModelError, match=r"the loss is .* in stage|of stage 'all'; lower"):
        toy.run(tmp_path / "model", stage)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_model_error(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match="make room or choose another --cache"):
        dataclasses.replace(toy, cache=tmp_path / "file").run(tmp_path / "model")


def test_an_output_that_is_no_model_is_refused_before_any_work(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="choose another --output"):
        toy.run(tmp_path)


def test_problems_of_all_files_are_listed_at_once(tmp_path: Path) -> None:
    first = DataFile(
        write_posts(tmp_path / "a.jsonl", [{"id": "1", "text": "a", "sentiment": "x"}])
    )
    second = DataFile(write_posts(tmp_path / "b.jsonl", [{"id": "", "text": "b"}]))
    with pytest.raises(DataError) as caught:
        Toy((first, first), (second,), tmp_path / "c").run(tmp_path / "m")
    text = "\n".join(caught.value.problems)
    for needed in ("a.jsonl:1: sentiment", "b.jsonl:1: id", "two --train files are called"):
        assert needed in text


def test_files_without_labels_are_refused(toy: Toy, tmp_path: Path) -> None:
    unlabelled = DataFile(write_posts(tmp_path / "a.jsonl", [{"id": "1", "text": "a"}]))
    with pytest.raises(DataError, match="no post has a label"):
        dataclasses.replace(toy, dev=(unlabelled,)).run(tmp_path / "m")
    with pytest.raises(DataError, match="no labelled post is left"):
        dataclasses.replace(toy, train=(unlabelled,)).run(tmp_path / "m")


def test_a_picture_that_cannot_be_decoded_is_a_warning(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    posts: list[dict[str, object]] = [
        {"id": "1", "text": "fine", "images": ["broken.png"], "sentiment": "positive"},
        {"id": "2", "text": "words only", "sentiment": "negative"},
    ]
    files = (*toy.train, DataFile(write_posts(tmp_path / "extra.jsonl", posts)))
    stage = dataclasses.replace(STAGE, epochs=1)
    result = dataclasses.replace(toy, train=files).run(tmp_path / "model", stage)
    assert any("broken.png" in warning for warning in result.warnings)


def test_evaluating_the_model_agrees_with_what_training_reported(
    toy: Toy, trained: TrainingResult
) -> None:
    classifier = Classifier.load(trained.path, device="cpu")
    lines: list[str] = []
    posts = read_posts(toy.dev[0].path).posts
    measured = measure_judged(judge(classifier, posts, report=lines.append))
    assert measured["model"] == classifier.info.version
    assert measured["sarcasm"] is None
    reported = trained.scores["check.jsonl"]["all"]["sentiment"]
    for read_out in ("fused", "text_alone", "image_alone"):
        assert measured["sentiment"][read_out]["n"] == reported[read_out]["n"]
        assert measured["sentiment"][read_out]["accuracy"]["value"] == pytest.approx(
            reported[read_out]["accuracy"]["value"], abs=0.05
        )
    assert lines == ["judged 30 of 30 posts"]
    measured = measure_judged(judge(classifier, read_posts(toy.dev[1].path).posts))
    assert measured["sentiment"] is None
    assert set(measured["sarcasm"]["fused"]["per_class"]) == {"literal", "sarcastic"}
    assert json.loads(json.dumps(measured)) == measured


def test_other_languages_are_learnt_last_and_measured_as_they_are_judged(
    toy: Toy, tmp_path: Path
) -> None:
    said = {
        "negative": "Das ist wirklich furchtbar und sehr traurig",
        "neutral": "Der Tisch steht heute wieder in der Küche",
        "positive": "Das ist wirklich wunderbar und sehr schön",
    }
    files = [
        DataFile(
            write_posts(
                tmp_path / f"{name}.jsonl",
                [
                    {"id": f"{name}-{label}-{number}", "text": f"{words} {name} {number}"}
                    | {"sentiment": label, "language": "de"}
                    for label, words in said.items()
                    for number in range(8)
                ],
            ),
            labelling="other",
            auxiliary=["sentiment"],
        )
        for name in ("lernen", "messen")
    ]
    toy = dataclasses.replace(toy, train=(*toy.train, files[0]), dev=(files[1],))
    result = toy.run(tmp_path / "model", dataclasses.replace(STAGE, epochs=1))
    accuracy = result.scores["messen.jsonl"]["all"]["sentiment"]["fused"]["accuracy"]["value"]
    assert accuracy == 1.0
    classifier = Classifier.load(result.path, device="cpu")
    measured = measure_judged(judge(classifier, read_posts(files[1].path).posts))
    assert measured["sentiment"]["fused"]["accuracy"]["value"] == accuracy


def test_words_that_another_post_has_with_a_picture_are_learnt_with_it(
    toy: Toy, tmp_path: Path
) -> None:
    lines = toy.train[0].path.read_text(encoding="utf-8").splitlines()
    posts = [json.loads(line) for line in lines]
    again = [
        {"id": f"again-{post['id']}", "text": post["text"], "sentiment": post["sentiment"]}
        for post in posts
    ]
    toy = dataclasses.replace(
        toy, train=(*toy.train, DataFile(write_posts(tmp_path / "again.jsonl", again)))
    )
    removed = toy.run(tmp_path / "model", dataclasses.replace(STAGE, epochs=1)).removed
    assert removed.with_pictures == sum("images" in post for post in posts)
    assert removed.repeated == sum("images" not in post for post in posts)


def test_the_recipe_of_the_preset_names_every_file(tmp_path: Path) -> None:
    assert "mini" in recipe_names()
    recipe = load_recipe("mini", tmp_path)
    assert len(recipe.train) == 12
    assert len(recipe.dev) == 6
    assert all(file.name and file.source for file in (*recipe.train, *recipe.dev))
    assert recipe.train[0].path == tmp_path / "mvsa" / "train.jsonl"


def test_what_a_recipe_asks_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "asks.toml"
    path.write_text(
        '[settings]\nquestions = ["sentiment", "hate"]\nlanguages = ["English"]\n'
        '[[train]]\nfile = "a.jsonl"\nauxiliary = ["irony"]\n'
    )
    with pytest.raises(DataError) as caught:
        load_recipe(path, tmp_path)
    told = str(caught.value)
    assert "questions is 'hate'; it must be sentiment or sarcasm or offensive or hateful" in told
    assert "languages is 'English'" in told
    assert "auxiliary is 'irony'; it must be sentiment" in told
    recipe = Recipe("x", (), (), settings=Settings(of_pictures=["offensive"]))
    with pytest.raises(CheckpointError, match=r"of_pictures is \['offensive'\]; it must hold"):
        configure(recipe)


def test_everything_wrong_with_a_recipe_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "colour = 1\n[settings]\nhidden = 'x'\nspeed = 2\n[[stage]]\nepochs = 0\n"
        "[[train]]\nname = 'a'\n"
    )
    with pytest.raises(DataError) as caught:
        load_recipe(path, tmp_path)
    text = "\n".join(caught.value.problems)
    for needed in (
        "colour is unknown",
        "settings.hidden",
        "settings.speed",
        "epochs is 0",
        "names no `file`",
    ):
        assert needed in text
    with pytest.raises(DataError, match="name a TOML file or one of: "):
        load_recipe("maxi", tmp_path)


def test_a_stage_that_names_no_file_is_refused(toy: Toy) -> None:
    with pytest.raises(DataError, match="uses 'nothing', which is not one of the files"):
        Recipe("a", toy.train, toy.dev, (Stage(train={"nothing": 1}),))


def test_settings_out_of_range_are_all_named() -> None:
    with pytest.raises(DataError, match=r"epochs is 0(.|\n)*patience is 0"):
        Stage(epochs=0, patience=0)


def test_posts_that_are_held_out_are_measured_on_and_not_learnt_from(
    toy: Toy, tmp_path: Path
) -> None:
    files = (dataclasses.replace(toy.train[0], hold_out=3), toy.train[1])
    result = dataclasses.replace(toy, train=files).run(
        tmp_path / "model", dataclasses.replace(STAGE, epochs=1)
    )
    document = json.loads((result.path / CONFIG_FILE).read_text())
    learnt = document["data"]["train"][0]["posts"]
    held = result.scores["Toy, held out"]["all"]["sentiment"]["fused"]["n"]
    assert learnt + held == 60
    assert held > 5


@pytest.mark.long
def test_stages_follow_each_other_and_a_killed_run_ends_with_the_same_model(
    toy: Toy, tmp_path: Path
) -> None:
    """Killed for real, in its second stage."""
    lines = ["name = 'killed'", "[settings]", "hidden = 32", "fusion = 'cross_attention'"]
    for name, keys, images in (("words", "{ 'irony.jsonl' = 1 }", 0), ("both", "{}", 1)):
        lines += [
            "[[stage]]",
            f"name = '{name}'",
            f"train = {keys}",
            "epochs = 2",
            "batch_size = 16",
            "train_text_layers = 1",
            f"train_image_stages = {images}",
        ]
    for kind, files in (("train", toy.train), ("dev", toy.dev)):
        for file in files:
            lines += [f"[[{kind}]]", f"file = '{file.path.name}'"]
    recipe = tmp_path / "killed.toml"
    recipe.write_text("\n".join(lines))
    data = toy.train[0].path.parent

    def command(name: str) -> list[str]:
        options = {"--recipe": recipe, "--data": data, "--output": tmp_path / name}
        given = [str(part) for option in options.items() for part in option]
        cache = str(tmp_path / f"cache-{name}")
        return [sys.executable, "-m", "models.training", *given, "--cache", cache, "--device=cpu"]

    with subprocess.Popen(command("killed"), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "stage both: epoch 1" in line:
                process.kill()
                break
    assert not (tmp_path / "killed").exists()
    resumed = subprocess.run(command("killed"), capture_output=True, text=True, check=True)
    assert "stage words: already finished" in resumed.stderr
    assert "stage both: resuming from" in resumed.stderr
    whole = subprocess.run(command("whole"), capture_output=True, text=True, check=True)
    assert resumed.stdout == whole.stdout
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    trained = read_info(tmp_path / "whole").config.trained
    assert any(name.startswith("text.encoder.layer.5.") for name in trained)
    assert any(name.startswith("image.") for name in trained)
    assert not any(name.startswith("text.encoder.layer.3.") for name in trained)
    assert Classifier.load(tmp_path / "whole", device="cpu").predict([]) == []


def test_short_memory_is_a_model_error_that_names_the_batch_size(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*args: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr("models.training.module.TrainingModule.forward", short)
    with pytest.raises(ModelError, match=r"out of memory in stage 'all'.*batch_size \(it is 16\)"):
        toy.afresh(tmp_path).run(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_that_comes_with_deadpan_is_valid(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name, tmp_path)
    assert recipe.name == name
    known = {file.called for file in recipe.train}
    for stage in recipe.stages:
        assert set(stage.train) <= known, stage.name


def test_the_article_trains_two_layers_of_bert_and_the_last_stage_of_resnet(tmp_path: Path) -> None:
    recipe = load_recipe("bert-resnet50", tmp_path)
    assert recipe.settings.preset == "bert-resnet50"
    assert [(s.train_text_layers, s.train_image_stages) for s in recipe.stages] == [(2, 1)]
