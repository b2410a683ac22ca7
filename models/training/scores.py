"""What a trained network reaches on the dev files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from models.checkpoint.calibration import Array, softmax
from models.engines.base import cpu_computes_bf16
from models.engines.torch_engine import BATCH_SIZE
from models.evaluation.judge import READ_OUTS, Answers, labels_of, measure_answers
from models.network.foreign import ForeignWords
from models.network.network import Network
from models.posts.language import detect
from models.posts.prediction import QUESTIONS, SENTIMENTS
from models.training.corpus import Corpus
from models.training.dataset import Collator, PostSet
from models.training.module import INPUTS, TrainingModule
from models.training.settings import Stage


def dev_scores(
    answers: Mapping[str, Answers], dev_set: PostSet, dev: Corpus, train: Corpus, *, seed: int
) -> dict[str, Any]:
    """Of every dev file, all posts and those that no training file holds.

    The leaks are out of training in any case (`without_leaks`); both numbers are here because
    published results on these splits are without that care.

    Args:
        answers: by read-out, in the order of `dev_set`.
        dev_set: the posts of `dev`, in its order.
        dev: whose files are reported one by one.
        train: whose words and pictures are not "unseen".

    Returns:
        By file, "all" and "unseen", each as `models.evaluation.judge.measure_answers` gives it.
    """
    labels = labels_of([row.post for row in dev.rows])
    train_texts = {row.text_key for row in train.rows}
    train_images = {key for row in train.rows for key in row.image_keys}
    unseen = np.array(
        [
            row.text_key not in train_texts and train_images.isdisjoint(row.image_keys)
            for row in dev.rows
        ]
    )
    result: dict[str, Any] = {}
    for index, one in enumerate(dev.files):
        result[one.title] = {}
        of_file = dev_set.file == index
        for part, chosen in (("all", of_file), ("unseen", of_file & unseen)):
            result[one.title][part] = measure_answers(
                {name: answer.chosen(chosen) for name, answer in answers.items()},
                {head: found[chosen] for head, found in labels.items()},
                seed=seed,
            )
    return result


def answers_of(
    network: Network,
    posts: PostSet,
    collate: Collator,
    device: str,
    foreign: ForeignWords | None = None,
) -> dict[str, Answers]:
    """What a network says of posts, by read-out, in their order.

    Args:
        network: is moved to the device; its encoders compute in bfloat16 where that can.
        foreign: reads words that are not English; a post's language is detected, as it is where
            posts are judged.
    """
    others = [
        row
        for row, one in enumerate(posts.rows)
        if foreign is not None and one.token_ids and detect(one.post.text) != "en"
    ]
    is_foreign = torch.zeros(len(posts), dtype=torch.bool)
    said = torch.zeros(len(posts), len(SENTIMENTS))
    if foreign is not None and others:
        is_foreign[others] = True
        said[others] = torch.from_numpy(foreign([posts.rows[row].text for row in others]))
    module = TrainingModule(network, Stage(), (), nn.ModuleDict()).to(device).eval()
    low = device == "cuda" or cpu_computes_bf16()
    order = sorted(range(len(posts)), key=lambda index: posts.lengths[index])
    logits: dict[str, dict[str, Array]] = {
        name: {
            head: np.zeros((len(posts), len(QUESTIONS[head]))) for head in network.config.questions
        }
        for name in READ_OUTS
    }
    given = {name: np.ones(len(posts), dtype=bool) for name in READ_OUTS}
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        batch = {
            name: value.to(device) for name, value in collate([posts[i] for i in chosen]).items()
        }
        inputs = {name: batch[name] for name in INPUTS}
        precision = torch.autocast(device, dtype=torch.bfloat16) if low else nullcontext()
        with torch.inference_mode():
            with precision:
                features = module.features(**inputs)
            if others:
                features = features._replace(
                    foreign=said[chosen].to(device), is_foreign=is_foreign[chosen].to(device)
                )
            found = network.head(features)
        for name in READ_OUTS:
            for head, rows in found[name].items():
                # an answer that is learnt as it is, of nothing, is the parameter itself
                logits[name][head][chosen] = rows.detach().float().cpu().numpy()
        given["text_alone"][chosen] = features.has_text.cpu().numpy()
        given["image_alone"][chosen] = features.image_mask.any(dim=1).cpu().numpy()
    return {
        name: Answers({head: softmax(rows) for head, rows in logits[name].items()}, given[name])
        for name in READ_OUTS
    }
