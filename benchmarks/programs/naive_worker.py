"""The article's way: Celery, one post a task, padded to 128 tokens, torch as it comes.

Float32, eager, pictures in the usual layout (NCHW), one forward pass each for words and picture,
one row and one commit a post. Preparing is Deadpan's (pictures decoded at reduced scale), which is
kinder than the article's.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import torch
from celery import Celery, signals

from benchmarks.programs.peer_work import DATABASE, SOURCE, Database, Platform
from deadpan.core import settings
from models.checkpoint.checkpoint import read_info
from models.checkpoint.loading import load_network
from models.network.network import make_features
from models.posts.prediction import Prediction, PreparedImage, PreparedPost, Scores, Sentiment
from models.serving.classifier import make_preparer

PAD_TO = 128

app = Celery("naive", broker=os.environ.get("BENCH_BROKER", "memory://"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue="peer",
    # Celery's default pool and as many processes as cores, one torch thread each: a single post
    # gives two threads little to share.
    worker_pool="prefork",
    worker_concurrency=os.cpu_count(),
    worker_send_task_events=False,
)


class NaiveModel:
    """The same checkpoint, judged one post at a time.

    Args:
        spec: a preset's name or a checkpoint folder.
    """

    def __init__(self, spec: str) -> None:
        checkpoint = read_info(spec)
        self.version = checkpoint.version
        self._network = load_network(checkpoint)
        self._prepare = make_preparer(checkpoint.config, max_image_pixels=50_000_000)

    def prepare(self, text: str, images: list[Any]) -> PreparedPost:
        """As Deadpan prepares a post."""
        return self._prepare(text, images)

    def predict(self, post: PreparedPost) -> Prediction:
        """Judge one post; without calibration, which takes no time."""
        ids = torch.zeros(1, PAD_TO, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        count = min(PAD_TO, len(post.token_ids))
        ids[0, :count] = torch.tensor(post.token_ids[:count], dtype=torch.int64)
        mask[0, : max(1, count)] = 1
        pictures = [image.pixels for image in post.images if isinstance(image, PreparedImage)]
        with torch.inference_mode():
            network = self._network
            states = network.text.states(ids, mask)
            regions = [network.image.regions(torch.from_numpy(p)[None]) for p in pictures]
            features = make_features(
                network.config,
                network.text.pool(states, mask),
                states,
                mask,
                torch.tensor([count > 0]),
                torch.cat(regions) if regions else torch.zeros(0, 1, network.config.image.dim),
                torch.arange(len(pictures))[None] if pictures else torch.full((1, 1), -1),
            )
            found = self._network.head(features)

        def scores(read_out: str) -> Scores:
            logits = found[read_out]
            sentiment = logits["sentiment"].softmax(-1)[0].tolist()
            return Scores(Sentiment(*sentiment), logits["sarcasm"].softmax(-1)[0, 1].item())

        return Prediction(
            scores("fused"),
            scores("text_alone") if count else None,
            scores("image_alone") if pictures else None,
        )


class _Process:
    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model = NaiveModel(settings.load().model)
        self.platform = Platform(os.environ[SOURCE])
        self.database = Database(os.environ[DATABASE])


_process: list[_Process] = []


@signals.worker_init.connect
def _create_table(**_: Any) -> None:
    Database(os.environ[DATABASE]).write("", [])


@signals.worker_process_init.connect
def _load(**_: Any) -> None:
    _process.append(_Process())


@app.task(name="peer.judge")
def judge(post_id: str) -> None:
    """Judge one post, from its id to a committed verdict."""
    here = _process[0]
    (post,) = here.platform.posts([post_id])
    images = [here.platform.image(url) for url in post["images"]]
    prediction = here.model.predict(here.model.prepare(post["text"], images))
    try:
        here.database.write(here.model.version, [(post_id, prediction)])
    except sqlite3.OperationalError:  # locked for too long: once more, as anybody would
        here.database.write(here.model.version, [(post_id, prediction)])
