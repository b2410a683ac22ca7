"""What Deadpan reads of one post: asked for as a worker asks, with nothing pushed or written."""

from __future__ import annotations

import random
import re
import string
import uuid
from dataclasses import replace
from typing import Any, cast

from deadpan.core.errors import ImageError
from deadpan.core.settings import Settings
from models.posts.containers import pixels_of
from models.posts.images import PictureFile
from sources.look import overlooked
from sources.mapping import PostMapping
from sources.open import open_source
from sources.post import FetchedImage, FetchedPost, FetchFailure, FetchResult, Gone
from storage.base.text import clean_json
from worker.checks import source_arguments

_SIDE = 224
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def check_post(settings: Settings, post_id: str) -> dict[str, Any]:
    """Fetch one post, and tell of all that is read of it.

    An HTTP source is also asked for it together with an id that was made up, for a page may answer
    otherwise for several ids, and one that does not know an id should say so in words that count.

    Returns:
        JSON: `outcome` (`read`, `gone`, `failed`), `error` where it is not read, `fields`,
        `images`, `asked_together` and `warnings`.

    Raises:
        SettingsError: the settings name no post source that can be asked.
    """
    seen: dict[str, Any] = {}
    arguments = source_arguments(settings)
    source = open_source(settings.source, **arguments, look=seen.__setitem__)
    try:
        result = source.fetch([post_id])[post_id]
    finally:
        source.close()
    told: dict[str, Any] = {"post_id": post_id, **_outcome(result)}
    warnings: list[str] = []
    mapping: PostMapping = arguments["mapping"]
    if settings.source == "database":
        mapping = PostMapping()
    if isinstance(result, FetchedPost):
        post = result.post
        told["fields"] = {
            "text": post.text,
            "author": post.author,
            "created_at": post.created_at and post.created_at.isoformat(),
            "language": post.language,
        }
        told["images"] = [_image(image, settings.max_image_pixels) for image in result.images]
        warnings += post.unreadable
        warnings += [
            f"DEADPAN_SOURCE_FIELDS says {name}={getattr(mapping, name)}, and nothing is there"
            for name in post.absent
        ]
        if not post.text.strip() and not post.images:
            warnings.append("the post has neither words nor pictures")
        if "\ufffd" in post.text:
            warnings.append("the text holds U+FFFD: some of its bytes were no UTF-8")
    if post_id in seen:
        warnings += overlooked(seen[post_id], mapping)
    if settings.source.lower().startswith("http") and not isinstance(result, Gone):
        told["asked_together"], more = _asked_together(settings, arguments, post_id, result)
        warnings += more
    told["warnings"] = warnings
    return cast(dict[str, Any], clean_json(told))


def _outcome(result: FetchResult) -> dict[str, Any]:
    if isinstance(result, FetchedPost):
        return {"outcome": "read"}
    if isinstance(result, Gone):
        return {"outcome": "gone", "error": result.why}
    return {"outcome": "failed", "error": result.error, "transient": result.transient}


def _image(image: FetchedImage, max_pixels: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "address": image.location,
        "final_url": image.final_url,
        "bytes": None,
        "format": None,
        "width": None,
        "height": None,
        "problem": image.problem,
    }
    if image.content is not None:
        told["bytes"] = len(image.content)
        try:
            found = pixels_of(image.content)
            told.update(format=found.kind, width=found.width, height=found.height)
            told["problem"] = PictureFile(image.content, max_pixels, _SIDE).decode().unread
        except ImageError as error:
            told["problem"] = str(error)
    return told


def _asked_together(
    settings: Settings, arguments: dict[str, Any], post_id: str, alone: FetchResult
) -> tuple[dict[str, Any], list[str]]:
    """What the source says to this id beside one that does not exist; no picture is fetched."""
    made_up = _made_up(post_id)
    limits = replace(arguments["limits"], max_images=0)
    source = open_source(settings.source, **{**arguments, "limits": limits})
    try:
        results = source.fetch([post_id, made_up])
    finally:
        source.close()
    here, nobody = results[post_id], results[made_up]
    warnings = []
    if isinstance(alone, FetchedPost) and not isinstance(here, FetchedPost):
        why = here.why if isinstance(here, Gone) else here.error
        warnings.append(f"asked for together with another id, the post is not read: {why}")
    elif (
        isinstance(alone, FetchedPost) and isinstance(here, FetchedPost) and alone.post != here.post
    ):
        warnings.append("asked for together with another id, the post is another one")
    if isinstance(nobody, FetchedPost):
        warnings.append(f"the source has a post '{made_up}', an id that was made up")
    elif isinstance(nobody, FetchFailure):
        warnings.append(
            f"the source does not say that '{made_up}', an id that was made up, is not there: "
            f"{nobody.error}; deleted posts would become dead letters"
        )
    return {"made_up_id": made_up, **_outcome(nobody)}, warnings


def _made_up(post_id: str) -> str:
    """An id that looks like this one, and that hardly any platform has."""
    if _UUID.fullmatch(post_id):
        return str(uuid.uuid4())
    if post_id.isascii() and post_id.isdigit():
        if len(post_id) <= 10:
            return str(2_147_480_000 + random.randrange(3_000))  # noqa: S311 - no secret; an int4
        return post_id[:-9] + f"{random.randrange(10**9):09}"  # noqa: S311 - no secret
    made = [
        random.choice(string.ascii_lowercase)  # noqa: S311 - no secret
        if letter.isascii() and letter.islower()
        else random.choice(string.digits)  # noqa: S311 - no secret
        if letter.isascii() and letter.isdigit()
        else letter
        for letter in post_id
    ]
    return "".join(made) if "".join(made) != post_id else f"{post_id}-0"
