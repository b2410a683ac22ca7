"""A queue as it may be on a bad day: long words, right to left, ten pictures, six reasons, XSS."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.judging.values import NewEvidence, NewVerdict
from tests.console_data import reason, verdict

IMAGES = Path(__file__).parents[2] / "deadpan" / "demo" / "images"
TEN = (
    *("burnt_pizza.jpg", "bus_stop_rain.jpg", "cracked_phone.jpg", "dead_plant.jpg"),
    *("departures.jpg", "desk.jpg", "fireworks.webp", "mountain_lake.jpg", "sunset_sea.jpg"),
    "traffic_jam.jpg",
)
XSS = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
RUDE = "Only a clown parks like that. Move it, you utter idiot"
QUOTED = 'They shouted "go back where you came from" at us again'
FLOODED = "Water up to my knees and the tap still won't turn off. Living my best life"
_SARCASTIC = reason("sarcastic", "sarcasm", 0.7, 0.91)
_NEGATIVE = reason("very-negative", "sentiment.negative", 0.85, 0.93)
_RUDE = reason("offensive", "offensive", 0.7, 0.91)
_HATEFUL = reason("hateful", "hateful", 0.6, 0.66)
_SIX = [
    _NEGATIVE,
    _SARCASTIC,
    reason("words-angry", "text_alone.sentiment.negative", 0.8, 0.88),
    reason("pictures-angry", "image_alone.sentiment.negative", 0.8, 0.81),
    reason("says-one-thing-shows-another", "opposition", 0.5, 0.66),
    reason("they-disagree", "disagreement", 0.4, 0.52),
]


def fill(database: Engine, store: EvidenceStore) -> None:
    """Write verdicts, flags and evidence, as a worker would."""
    now = datetime.now(UTC)
    posts: list[tuple[str, str, Sequence[str], dict[str, Any]]] = [
        ("1001", FLOODED, ["flooded_kitchen.jpg"], {"queue": "sarcasm", "priority": 60,
            "reasons": [_SARCASTIC], "author": "mara_k", "sarcasm": 0.91,
            "explanation": _explanation(FLOODED)}),
        ("1002", "I am so tired of this. " * 30, [], {"queue": "negative", "priority": 60,
            "reasons": [_NEGATIVE], "author": "jonas.p"}),
        ("1003", "هذا أسوأ يوم في حياتي كلها، شكرًا جزيلاً", [], {"author": "ليلى"}),
        ("1004", "Donaudampfschifffahrtselektrizitäten" * 8, [], {"author": "a" * 90}),
        ("1005", "Look at all of this", TEN, {"author": "tidewalker", "reasons": _SIX,
            "queue": "several", "sarcasm": 0.91, "negative": 0.93}),
        (f"xss-{XSS}", XSS, ["burnt_pizza.jpg"], {"author": XSS, "priority": 5,
            "degraded": [{"image": 1, "location": "x", "problem": XSS}]}),
        ("1007", "", ["meme_meeting.jpg"], {"author": "mara_k", "queue": "degraded",
            "degraded": [{"image": 1, "location": "x", "problem": "the host answered 404"}]}),
    ]  # fmt: skip
    posts += [
        (f"20{number:02}", f"Another day, another delay, number {number}.", [],
         {"author": f"rider{number % 5}", "priority": 20})
        for number in range(12)
    ]  # fmt: skip
    for number, (post_id, text, images, more) in enumerate(posts):
        made, evidence = _judged(store, post_id, text, images, now, **more)
        with transaction(database) as connection:
            record(
                connection,
                verdicts=[made],
                evidence=evidence,
                now=now - timedelta(minutes=7 * (20 - number)),
            )


def fill_calmly(database: Engine, store: EvidenceStore) -> None:
    """A quiet morning: some of the demo's posts, as the README shows them."""
    now = datetime.now(UTC)
    lines = (IMAGES.parent / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    posts = {post["id"]: post for post in map(json.loads, lines)}
    for number, post_id in enumerate(("1001", "1019", "1012", "1003", "1014", "1011")):
        post = posts[post_id]
        is_sarcastic = post["about"].startswith(("sarcastic", "text only, sarcastic"))
        made, evidence = _judged(
            store,
            post_id,
            post["text"],
            [Path(name).name for name in post.get("images", ())],
            now,
            queue="sarcasm" if is_sarcastic else "negative",
            reasons=[_SARCASTIC] if is_sarcastic else [_NEGATIVE],
            priority=40 if is_sarcastic else 30,
            author=post["author"],
        )
        with transaction(database) as connection:
            record(
                connection,
                verdicts=[made],
                evidence=evidence,
                now=now - timedelta(minutes=11 * (7 - number)),
            )


def fill_of_words(database: Engine, store: EvidenceStore) -> tuple[int, int, int]:
    """Three posts that a model with all questions judged; their flags: offensive, with a picture;
    sarcastic, with a picture that moved nothing; hateful, without one."""
    return (
        judged(database, store, "3001", RUDE, ["traffic_jam.jpg"], queue="negative", priority=70,
            reasons=[_RUDE, _NEGATIVE], author="nadia", negative=0.93, offensive=0.91, hateful=0.14,
            explanation=explained("offensive", RUDE, {"clown": 0.2, "utter idiot": 0.41})),
        judged(database, store, "3002", FLOODED, ["flooded_kitchen.jpg"], queue="sarcasm",
            reasons=[_SARCASTIC], author="mara_k", sarcasm=0.91, offensive=0.04, hateful=0.01,
            explanation=explained("sarcasm", FLOODED, {"best": 0.3}, regions())),
        judged(database, store, "3003", QUOTED, [], queue="negative", reasons=[_HATEFUL],
            author="ines", offensive=0.72, hateful=0.66,
            explanation=explained("hateful", QUOTED, {"go back": 0.3, "at us": -0.11})),
    )  # fmt: skip


def judged(
    database: Engine,
    store: EvidenceStore,
    post_id: str,
    text: str,
    images: Sequence[str],
    **more: Any,
) -> int:
    """Write one flagged post, and give its flag's id."""
    made, evidence = _judged(store, post_id, text, images, datetime.now(UTC), **more)
    with transaction(database) as connection:
        recorded = record(connection, verdicts=[made], evidence=evidence)
    return recorded.opened_flag_ids[post_id]


def _judged(
    store: EvidenceStore, post_id: str, text: str, images: Sequence[str], now: datetime, **more: Any
) -> tuple[NewVerdict, list[NewEvidence]]:
    content = text.encode()
    kept = [
        NewEvidence(store.put(content), "original_text", "text/plain", len(content)),
        NewEvidence(store.put(content), "text", "text/plain", len(content)),
    ]
    for name in images:
        with Image.open(IMAGES / name) as image:
            small = image.convert("RGB")
            small.thumbnail((448, 448))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG")
        kept.append(NewEvidence(store.put(buffer.getvalue()), "image", "image/jpeg", buffer.tell()))
    alone = {"negative": 0.2, "neutral": 0.2, "positive": 0.6, "sarcasm": 0.3}
    found = verdict(
        post_id,
        content=text,
        text_alone=alone if text else None,
        image_alone={**alone, "negative": 0.8, "positive": 0.0} if images else None,
        evidence=[{"kind": each.kind, "sha256": each.sha256} for each in kept],
        text=text,
        posted_at=now - timedelta(hours=5),
        **more,
    )
    return found, list({each.sha256: each for each in kept}.values())


def _explanation(text: str) -> dict[str, Any]:
    effects = {"Water": 0.05, "knees": 0.11, "Living": 0.2, "best": 0.31, "turn": -0.12}
    return explained("sarcasm", text, effects, regions(by_row=0.1, by_column=0.02))


def explained(
    score: str,
    text: str,
    effects: Mapping[str, float],
    regions: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:
    words = []
    for word, effect in effects.items():
        start = text.index(word)
        words.append({"start": start, "end": start + len(word), "word": word, "effect": effect})
    return {
        "score": score,
        "method": "occlusion",
        "value": 0.91,
        "disagreement": 0.6,
        "words": sorted(words, key=lambda word: word["start"]),
        "regions": list(regions),
    }


def regions(*, by_row: float = 0.0, by_column: float = 0.0) -> list[dict[str, float]]:
    """The parts of a picture; without arguments, none of them moved the score."""
    return [
        {"image": 0, "x0": x / 4, "y0": y / 4, "x1": (x + 1) / 4, "y1": (y + 1) / 4,
         "effect": by_row * (y - 1) + by_column * x}
        for y in range(4)
        for x in range(4)
    ]  # fmt: skip
