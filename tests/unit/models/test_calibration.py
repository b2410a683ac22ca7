"""Calibration makes probabilities honest, and is written whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deadpan.core.errors import CheckpointError, DataError, ModelError
from models.checkpoint import checkpoint as checkpoint_module
from models.checkpoint.calibration import (
    MAX_TEMPERATURE,
    MIN_POSTS,
    MIN_TEMPERATURE,
    UNCALIBRATED,
    Calibration,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)
from models.checkpoint.checkpoint import CONFIG_FILE, read_info, write_calibration
from models.data.posts_file import LabelledPost, PostsFile, read_posts
from models.evaluation.calibrate import Logits, calibrate, refuse_training_data
from models.evaluation.metrics import expected_calibration_error
from models.posts.prediction import SENTIMENTS
from models.serving.classifier import Classifier
from models.training.run import TrainingResult

FILE = PostsFile(Path("held_out.jsonl"), "ab" * 32, (), ())


def overconfident(
    posts: int, *, times: float = 3.0, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits `times` as large as those that the labels were drawn from."""
    random = np.random.default_rng(seed)
    honest = random.normal(size=(posts, classes)) * 1.5
    draws = random.random((posts, 1))
    labels = (softmax(honest).cumsum(axis=1) < draws).sum(axis=1).clip(0, classes - 1)
    return honest * times, labels


def held_out(
    posts: int, *, words: bool = True, pictures: bool = True, times: float = 3.0
) -> Logits:
    rows, labels = overconfident(posts, times=times)
    nothing = np.zeros((posts, 2))
    return Logits(
        posts=tuple(
            LabelledPost(str(index), "", sentiment=SENTIMENTS[label])
            for index, label in enumerate(labels)
        ),
        by_read_out={
            name: {"sentiment": rows, "sarcasm": nothing}
            for name in ("fused", "text_alone", "image_alone")
        },
        has_text=np.full(posts, words),
        has_image=np.full(posts, pictures),
    )


@pytest.fixture
def copy(trained: TrainingResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "toy"))


SOME = Calibration(
    {"sentiment": {"both": 2.0, "text": 1.5}},
    ({"name": "held_out.jsonl", "sha256": "ab" * 32, "n": 500},),
)


@pytest.mark.parametrize("times", [0.5, 1.0, 3.0])
def test_the_temperature_is_by_how_much_the_model_is_too_sure(times: float) -> None:
    logits, labels = overconfident(20_000, times=times)
    assert fit_temperature(logits, labels) == pytest.approx(times, rel=0.05)


def test_no_other_temperature_is_more_likely() -> None:
    logits, labels = overconfident(300)
    best = fit_temperature(logits, labels)
    least = negative_log_likelihood(logits / best, labels)
    for temperature in np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 200):
        assert negative_log_likelihood(logits / temperature, labels) >= least - 1e-9


def test_logits_that_are_always_right_or_mean_nothing_stay_within_bounds() -> None:
    labels = np.arange(300) % 3
    assert fit_temperature(np.eye(3)[labels], labels) == pytest.approx(MIN_TEMPERATURE, rel=0.01)
    wrong = np.eye(3)[(labels + 1) % 3]
    assert fit_temperature(wrong * 50, labels) == pytest.approx(MAX_TEMPERATURE, rel=0.01)


def test_calibration_makes_overconfident_posts_honest_that_it_was_not_fitted_on() -> None:
    found, left = calibrate(held_out(2000), [FILE])
    measured = found.measured["sentiment"]["both"]
    assert found.temperatures["sentiment"]["both"] == pytest.approx(3.0, rel=0.15)
    assert measured["ece_before"]["value"] > 0.15
    assert measured["ece_after"]["value"] < 0.04
    assert measured["ece_after"]["high"] < measured["ece_before"]["low"]
    assert measured["ece_of_perfect"] == pytest.approx(measured["ece_after"]["value"], abs=0.015)
    assert any(line.startswith("sarcasm: the posts have no label") for line in left)


def test_the_error_after_calibration_is_measured_on_other_folds() -> None:
    logits = held_out(MIN_POSTS)
    found, _ = calibrate(logits, [FILE])
    rows, labels = logits.by_read_out["fused"]["sentiment"], logits.labels("sentiment")
    after = softmax(rows / found.temperatures["sentiment"]["both"])
    itself = expected_calibration_error(after.max(axis=1), after.argmax(axis=1) == labels)
    assert found.measured["sentiment"]["both"]["ece_after"]["value"] != pytest.approx(itself)


def test_too_few_posts_leave_a_pattern_as_it_is_and_say_so() -> None:
    found, left = calibrate(held_out(MIN_POSTS - 1), [FILE])
    assert found.temperatures == {}
    assert found.version == UNCALIBRATED
    assert f"sentiment, both: {MIN_POSTS - 1} labelled posts; {MIN_POSTS} are needed" in left[0]


def test_words_are_calibrated_on_posts_of_words_and_else_on_the_words_of_pairs() -> None:
    found, _ = calibrate(held_out(300, pictures=False), [FILE])
    assert set(found.temperatures["sentiment"]) == {"text"}
    assert found.measured["sentiment"]["text"]["from"] == "posts with words only"
    found, _ = calibrate(held_out(300), [FILE])
    assert set(found.temperatures["sentiment"]) == {"both", "text", "image"}
    assert "pairs" not in found.measured["sentiment"]["both"]["from"]
    assert found.measured["sentiment"]["text"]["from"].startswith("the words of posts")


def test_what_is_asked_of_words_alone_has_one_temperature_whatever_is_beside_them() -> None:
    logits = replace(held_out(300, pictures=False), of_pictures=())
    found, left = calibrate(logits, [FILE])
    of_words = found.temperatures["sentiment"]
    assert of_words == {"text": of_words["text"], "both": of_words["text"]}
    assert not any(line.startswith("sentiment") for line in left)


def test_a_calibration_survives_being_written_and_read() -> None:
    assert Calibration.from_json(json.loads(json.dumps(SOME.to_json()))) == SOME
    assert Calibration.from_json(None).version == UNCALIBRATED


def test_the_version_changes_with_a_temperature_and_with_nothing_else() -> None:
    other = replace(SOME, temperatures={"sentiment": {"both": 2.0, "text": 1.6}})
    assert other.version != SOME.version
    assert replace(SOME, thresholds=({"score": "sarcasm"},)).version == SOME.version


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperatures": {"sentiment": {"both": 2.1}}}, "they were altered"),
        ({"temperatures": {"sentiment": {"both": 0}}}, "both is 0; it must be greater than or"),
        ({"temperatures": {"sentiment": {"both": float("nan")}}}, "finite"),
        ({"temperatures": {"sentiment": {"audio": 1.0}}}, "audio"),
        ({"temperatures": {"mood": {}}}, "mood"),
        ({"temperatures": [1]}, r"temperatures is \[1\]; it must be an object"),
        ({"data": []}, "temperatures come from data"),
        ({"data": ["dev"]}, "calibration.data.0 is 'dev'; it must be an object"),
        ({"data": [{"name": "dev"}]}, "must state the file's name and SHA-256"),
        ({"measured": 1}, "calibration.measured is 1"),
    ],
)
def test_an_altered_calibration_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        Calibration.from_json(SOME.to_json() | change)
    with pytest.raises(CheckpointError, match="it must be an object"):
        Calibration.from_json([])


def test_a_calibrated_model_gives_calibrated_probabilities(copy: Path) -> None:
    plain = Classifier.load(copy, device="cpu")
    posts = [plain.prepare("so sad today", []), plain.prepare("great fun", [])]
    logits = plain.logits(posts)["text_alone"]["sentiment"]
    info = write_calibration(copy, SOME)
    calibrated = Classifier.load(copy, device="cpu")
    assert calibrated.info.calibration_version == SOME.version == info.calibration.version
    assert calibrated.info.version == plain.info.version
    for row, prediction in enumerate(calibrated.predict(posts)):
        expected = softmax(logits[row : row + 1] / 1.5)[0]
        assert list(prediction.fused.sentiment) == pytest.approx(expected.tolist(), abs=0.01)
        assert prediction.text_alone == prediction.fused
    before = [one.fused.sarcasm for one in plain.predict(posts)]
    after = [one.fused.sarcasm for one in calibrated.predict(posts)]
    assert after == pytest.approx(before, abs=0.01)


def test_no_posts_have_no_logits(trained: TrainingResult) -> None:
    logits = Classifier.load(trained.path, device="cpu").logits([])
    assert logits["fused"]["sentiment"].shape == (0, 3)


def test_a_calibrated_copy_leaves_the_original_as_it_was(copy: Path, tmp_path: Path) -> None:
    before = (copy / CONFIG_FILE).read_bytes()
    info = write_calibration(copy, SOME, tmp_path / "calibrated")
    assert (copy / CONFIG_FILE).read_bytes() == before
    assert info.path == tmp_path / "calibrated"
    assert info.calibration == SOME
    assert info.version == read_info(copy).version


def test_a_write_that_fails_leaves_the_old_calibration(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "_write", full)
    files = sorted(copy.iterdir())
    before = (copy / CONFIG_FILE).read_bytes()
    with pytest.raises(ModelError, match="No space left on device"):
        write_calibration(copy, SOME)
    assert (copy / CONFIG_FILE).read_bytes() == before
    assert sorted(copy.iterdir()) == files


def test_an_altered_checkpoint_is_refused_with_the_remedy(copy: Path) -> None:
    write_calibration(copy, SOME)
    document = json.loads((copy / CONFIG_FILE).read_text())
    document["calibration"]["temperatures"]["sentiment"]["both"] = 0.5
    (copy / CONFIG_FILE).write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="altered; calibrate it again"):
        read_info(copy)


def test_posts_that_the_model_learnt_from_are_refused(toy: object, trained: TrainingResult) -> None:
    info = read_info(trained.path)
    learnt = read_posts(toy.train[0].path)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="was trained on this file"):
        refuse_training_data(info, [learnt])
    refuse_training_data(info, [read_posts(toy.dev[0].path)])  # type: ignore[attr-defined]
