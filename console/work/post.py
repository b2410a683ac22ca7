"""A post as a page shows it: as its author wrote it, and as the model saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from console.web import words
from console.web.state import Visitor, console_of
from console.work.pictures import Pictures
from storage.flags.worklist import Flag
from storage.tables import ExplanationRow


def post_of(
    request: Request,
    visitor: Visitor,
    flag: Flag,
    asked: str,
    explanation: ExplanationRow | None = None,
) -> dict[str, Any]:
    """The post as its author wrote it and as the model saw it, for `parts.html`.

    Args:
        asked: "shown" shows the pictures, whatever the reader's own setting is.
        explanation: of the flag, as far as it has come.
    """
    console, verdict = console_of(request), flag.verdict
    seen = console.text(verdict.evidence, "text")
    told = (explanation and explanation.explanation) or verdict.explanation or {}
    unseen = {item.get("image") for item in verdict.degraded}
    shas = [item["sha256"] for item in verdict.evidence if item["kind"] == "image"]
    # Evidence holds the pictures that could be seen; explanations count all pictures of the post.
    numbers = [n for n in range(len(shas) + len(unseen)) if n not in unseen]
    mode = "show" if asked == "shown" else str(visitor.moderator.settings.get("pictures", "blur"))
    pictures = pictures_of(request)
    sized = [(n + 1, sha, pictures.size(sha)) for n, sha in zip(numbers, shas, strict=False)]
    own, read = words.apart(words.marked(seen, told.get("words", ())))
    original = console.text(verdict.evidence, "original_text")
    return {
        "original": original,
        "written": _as_written(original, seen, told.get("words", ())),
        "window": told.get("window"),
        "seen": own,
        "read_in_pictures": read,
        "explaining": explanation is not None and explanation.state == "pending",
        "unexplained": explanation.error
        if explanation is not None and explanation.state == "failed"
        else None,
        "explained": told.get("score"),
        "looks_at": words.read_by(str(told.get("score", ""))),
        "tried": {region.get("image", 0) + 1 for region in told.get("regions", ())},
        "method": told.get("method"),
        "moved": [w for w in told.get("words", ()) if abs(w.get("effect", 0)) >= 0.01],
        "disagreement": told.get("disagreement"),
        "mode": mode,
        "pictures": [
            {
                "sha256": sha256,
                "number": number,
                "size": size,
                "regions": _regions(told.get("regions", ()), number - 1),
            }
            for number, sha256, size in sized
            if size is not None
        ],
        "lost": [number for number, _, size in sized if size is None],
    }


def _as_written(
    original: str, seen: str, told: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int]]:
    """The author's own text in pieces, each with how much it moved the score; nothing where the
    model read the same text, or where the places in it are not known."""
    if original == seen:
        return []
    placed = [
        {"start": word["original"][0], "end": word["original"][1], "effect": word.get("effect", 0)}
        for word in told
        if word.get("original")
    ]
    pieces = words.marked(original, placed)
    return pieces if any(moved for _, moved in pieces) else []


def pictures_of(request: Request) -> Pictures:
    """The pictures that this console shows, in their sizes."""
    pictures: Pictures = request.app.state.pictures
    return pictures


def _regions(regions: Any, image: int) -> list[dict[str, Any]]:
    here = [region for region in regions if region.get("image") == image]
    most = max((abs(float(region["effect"])) for region in here), default=0.0)
    leveled = [{**region, "level": words.level(float(region["effect"]), most)} for region in here]
    return [region for region in leveled if region["level"]]
