"""A judge with everything real around it, on posts in memory."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine

from models.posts.images import PictureFile
from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from sources.post import FetchedImage, FetchedPost, FetchFailure, FetchResult, Gone, Post
from sources.source import PostSource
from storage.base.database import connect, transaction
from storage.flags import worklist
from storage.judging import explanations
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.migrations.schema import migrate
from storage.tables import ExplanationRow
from tasks.intake.chunks import Chunk, Entry
from tasks.moderate.explainer import Explainer
from tasks.moderate.judge import Judge
from tasks.moderate.outcomes import Outcomes
from tasks.policy.looks import Looks
from tasks.policy.rules import parse_policy
from tasks.watches.tries import Tries


def jpeg(colour: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


class Posts(PostSource):
    """A source in memory."""

    def __init__(self) -> None:
        self.posts: dict[str, tuple[str, list[bytes | None]]] = {}
        self.failures: dict[str, FetchFailure] = {}
        self.may_come = False  # what is missing
        self.language: str | None = "en-GB"

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        return {post_id: self._one(post_id) for post_id in post_ids}

    def _one(self, post_id: str) -> FetchResult:
        if post_id in self.failures:
            return self.failures[post_id]
        if post_id not in self.posts:
            return Gone(post_id, "left out")
        text, contents = self.posts[post_id]
        images = tuple(
            FetchedImage(
                f"{post_id}/{number}",
                content,
                None if content else "it answered 404",
                transient=self.may_come and not content,
            )
            for number, content in enumerate(contents)
        )
        return FetchedPost(Post(post_id, text, language=self.language), images)

    def close(self) -> None:
        """Nothing to give back."""


class Bench:
    """A judge with everything real around it, and a count of the work it does."""

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        patch: pytest.MonkeyPatch,
        policy: str,
        looks: Looks = Looks(),  # noqa: B008 - it is frozen
    ) -> None:
        self.source = Posts()
        self.database: Engine = connect(f"sqlite:///{folder / 'deadpan.db'}")
        migrate(self.database)
        self.evidence = EvidenceStore(str(folder / "evidence"))
        self.done = {"decoded": 0, "prepared": 0, "predicted": 0}
        self.judge = Judge(
            source=self.source,
            classifier=classifier,
            policy=parse_policy(tomllib.loads(policy)),
            database=self.database,
            evidence=self.evidence,
            tries=Tries(3, 1.0),
            explain=False,
            remembered=100,
            looks=looks,
        )
        self._count(classifier, patch)

    def _count(self, classifier: Classifier, patch: pytest.MonkeyPatch) -> None:
        square, prepare, predict = PictureFile.decode, classifier.prepare_all, classifier.predict

        def decoding(file: PictureFile) -> Any:
            self.done["decoded"] += 1
            return square(file)

        def preparing(posts: Sequence[Any], *languages: Any) -> list[PreparedPost]:
            self.done["prepared"] += len(posts)
            return prepare(posts, *languages)

        def predicting(posts: Sequence[PreparedPost], *kept: Any) -> Any:
            self.done["predicted"] += len(posts)
            return predict(posts, *kept)

        patch.setattr(PictureFile, "decode", decoding)
        patch.setattr(classifier, "prepare_all", preparing)
        patch.setattr(classifier, "predict", predicting)

    def chunk(
        self,
        *post_ids: str,
        attempts: int = 0,
        write: bool = True,
        name: str = "c",
        losses: int = 0,
    ) -> Outcomes:
        self.done |= dict.fromkeys(self.done, 0)
        entries = tuple(Entry(b"n" + post_id.encode(), attempts) for post_id in post_ids)
        outcomes = self.judge.judge(Chunk(name, "o", losses, entries), {})
        if write:
            with transaction(self.database) as connection:
                record(
                    connection,
                    verdicts=outcomes.verdicts,
                    dead_letters=outcomes.dead_letters,
                    gone=outcomes.gone,
                    evidence=outcomes.evidence,
                )
        return outcomes


class Hands:
    """A lease keeper's view of the chunks in hand."""

    held = 0
    taken = 0


def explainer_of(bench: Bench, classifier: Classifier, hands: Hands | None = None) -> Explainer:
    """Explains the bench's flags when it is told to."""
    return Explainer(
        classifier,
        database=bench.database,
        evidence=bench.evidence,
        leases=hands or Hands(),
        holder="bench",
        may_work=lambda: True,
        models=tuple,
    )


def explained(bench: Bench, post_id: str) -> ExplanationRow:
    """What is known of why a post's last flag was opened."""
    with transaction(bench.database, read_only=True) as connection:
        flag = worklist.of_post(connection, post_id, limit=1)[0]
        found = explanations.of_flag(connection, flag.id, flag.verdict_id)
    assert found is not None
    return found
