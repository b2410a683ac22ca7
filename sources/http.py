"""The platform's HTTP API as a post source."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from sources.connection import TransferError
from sources.download import ImageDownloader, ImageLimits, described
from sources.mapping import PostMapping, WrongFieldError, id_of, post_of, posts_of
from sources.post import FetchFailure, FetchResult, Gone, Post
from sources.threads import Threads
from sources.transport import (
    BodyTooLargeError,
    Response,
    Transport,
    canonical,
    read_body,
    retry_after_seconds,
)

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_SHOWN_CHARACTERS = 80
_MAX_IDS_CHARACTERS = 6000  # most servers refuse a request line of more than 8 KiB

Found = Post | Gone | FetchFailure


@dataclass(slots=True)
class _Outcome:
    """What one request came to: results, and groups of ids that have to be asked for again."""

    found: dict[str, Found] = field(default_factory=dict)
    again: list[tuple[str, ...]] = field(default_factory=list)


class HttpSource:
    """Fetches posts from a URL with `{ids}` (many, comma-separated) or `{id}` (one) in it.

    Args:
        url: the template; `sources.open` checks it.
        token: sent as a bearer token to the template's own origin and nowhere else.
        timeout_seconds: for one request, from its first packet to the last byte of its answer.
        ids_per_request: at most, where the template takes many.
        threads: requests at once over all fetches, and again as many images.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = 10.0,
        limits: ImageLimits | None = None,
        mapping: PostMapping | None = None,
        ids_per_request: int = 64,
        threads: int = 8,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._takes_many = "{ids}" in url
        self._before, self._after = url.split("{ids}" if self._takes_many else "{id}", 1)
        self._headers = {
            "User-Agent": "Deadpan",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._mapping = mapping or PostMapping()
        self._ids_per_request = ids_per_request if self._takes_many else 1
        self._max_answer_bytes = max_answer_bytes
        self._pause = _Pause()
        self._transport = Transport(connections=threads)
        self._threads = Threads(threads, "deadpan-source")
        self._images = ImageDownloader(limits or ImageLimits(), threads=threads)

    def close(self) -> None:
        """Give back connections and threads, after the requests that are under way."""
        self._threads.close()
        self._transport.close()
        self._images.close()

    def fetch(self, post_ids: Sequence[str]) -> dict[str, FetchResult]:
        """Fetch posts and their images; see `sources.post.PostSource`."""
        found: dict[str, Found] = {}
        askable = []
        for post_id in dict.fromkeys(post_ids):
            refusal = self._refusal(post_id)
            if refusal is None:
                askable.append(post_id)
            else:
                found[post_id] = FetchFailure(post_id, refusal, transient=False)
        found |= self._found(askable)
        posts = [result for result in found.values() if isinstance(result, Post)]
        completed: dict[str, FetchResult] = {
            fetched.post.id: fetched for fetched in self._images.complete(posts)
        }
        results: dict[str, FetchResult] = {}
        for post_id in dict.fromkeys(post_ids):
            result = found[post_id]
            results[post_id] = completed[post_id] if isinstance(result, Post) else result
        return results

    def _refusal(self, post_id: str) -> str | None:
        """Why this id cannot be put into the URL, if so."""
        if not post_id:
            return "post id '' is empty"
        try:
            quoted = quote(post_id, safe="")
        except UnicodeEncodeError:
            return f"post id {post_id!a} is not valid Unicode"
        if self._takes_many and "," in post_id:
            return (
                f"post id '{post_id}' holds a comma, and a source with {{ids}} separates ids with "
                "commas; use a source with {id}"
            )
        segment = self._before.rpartition("/")[2] + quoted + self._after.partition("/")[0]
        if segment.split("?")[0].split("#")[0] in (".", ".."):
            # Every HTTP client and proxy takes these out of a path, so another URL would be asked.
            return f"post id '{post_id}' means another folder when it stands in a URL's path"
        return None

    def _found(self, post_ids: Sequence[str]) -> dict[str, Found]:
        groups = _grouped(post_ids, self._ids_per_request)
        found: dict[str, Found] = {}
        waiting: dict[Future[_Outcome], tuple[str, ...]] = {}
        ended: SimpleQueue[Future[_Outcome]] = SimpleQueue()
        while groups or waiting:
            for group in groups:
                future = self._threads.submit(self._asked, group)
                waiting[future] = group
                future.add_done_callback(ended.put)
            done = ended.get()
            group = waiting.pop(done)
            try:
                outcome = done.result()
            except CancelledError:
                outcome = _failed(group, "the worker was stopped before the post was fetched")
            found |= outcome.found
            groups = outcome.again
        return found

    def _asked(self, group: tuple[str, ...]) -> _Outcome:
        try:
            return self._ask(group)
        except Exception as error:
            # Whatever the platform found to break us with, the other posts of the chunk go on.
            log.exception("asking the post source failed unexpectedly")
            return _failed(group, f"the post source could not be read: {type(error).__name__}")

    def _ask(self, group: tuple[str, ...]) -> _Outcome:
        pause_seconds = self._pause.left_seconds()
        if pause_seconds > 0:
            error = "the post source asked to be left alone for a while"
            return _failed(group, error, retry_after=pause_seconds, outage=self._pause.is_outage)
        url = self._before + ",".join(quote(post_id, safe="") for post_id in group) + self._after
        ends_at = time.monotonic() + self._timeout_seconds
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                left_seconds = max(0.001, ends_at - time.monotonic())
                with self._transport.get(
                    url, seconds=left_seconds, headers=self._headers
                ) as response:
                    if response.status not in _REDIRECTS:
                        return self._read(group, response, url)
                    location = response.headers.get("Location", "")
                target = _redirected(url, location)
                if target is None:
                    error = f"the post source redirects elsewhere, to {_shown(location)}"
                    return _failed(group, error)
                url = target
        except BodyTooLargeError as error:
            if len(group) > 1:
                return _Outcome(again=_halves(group))
            return _failed(group, f"the post source {error} for one post", transient=False)
        except TransferError as error:
            # Even a wrong certificate is transient here: it is the platform's, not the post's.
            return _failed(group, f"the post source {error}", outage=True)
        return _failed(group, f"the post source redirects more than {_MAX_REDIRECTS} times")

    def _read(self, group: tuple[str, ...], response: Response, url: str) -> _Outcome:
        status = response.status
        said = f"the post source answered {described(status)}"
        if status in (404, 410):
            if len(group) > 1:
                return _Outcome(again=[(post_id,) for post_id in group])
            return _Outcome(found={post_id: Gone(post_id, said) for post_id in group})
        if status in (429, 503):
            retry_after = retry_after_seconds(response)
            self._pause.ask(retry_after or 0.0, outage=status == 503)
            return _failed(group, said, retry_after=retry_after, outage=status == 503)
        if status in (401, 403):
            # 403 may be about a post that is private
            return _failed(group, f"{said}; check DEADPAN_SOURCE_TOKEN", outage=status == 401)
        if status == 408 or status >= 500 or status < 200:
            return _failed(group, said, outage=True)
        if status >= 300:
            if len(group) > 1:
                return _Outcome(again=_halves(group))
            return _failed(group, said, transient=False)
        body = read_body(response, self._max_answer_bytes)
        try:
            answer = json.loads(body)
            values = posts_of(answer, self._mapping)
        except (ValueError, RecursionError):
            values = None
        if values is None:
            content_type = _shown(response.headers.get("Content-Type", "no content type"))
            beginning = body[:_SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
            return _failed(
                group,
                f"{said} with {content_type}, which holds no posts: {_shown(beginning)}",
                outage=True,
            )
        return _Outcome(found=self._matched(group, list(values), url))

    def _matched(self, group: tuple[str, ...], values: list[Any], url: str) -> dict[str, Found]:
        """One result for every id asked for, from whatever objects the answer holds."""
        asked = set(group)
        found: dict[str, Found] = {}
        nameless = 0
        for value in values:
            post_id = id_of(value, self._mapping)
            if post_id is None:
                nameless += 1
            elif post_id in asked and post_id not in found:
                try:
                    found[post_id] = post_of(value, self._mapping, base_url=url)
                except WrongFieldError as error:
                    message = f"the post source answered a post whose {error}"
                    found[post_id] = FetchFailure(post_id, message, transient=False)
        for post_id in group:
            if post_id not in found:
                found[post_id] = self._left_out(post_id, nameless)
        return found

    def _left_out(self, post_id: str, nameless: int) -> Found:
        if nameless:
            # One of those may be this post, and "gone" would lose it for good.
            id_path = self._mapping.id
            message = f"the post source left it out, and sent {nameless} posts without '{id_path}'"
            return FetchFailure(post_id, message, transient=True)
        return Gone(post_id, "the post source left it out of its answer")


class _Pause:
    """Until when the source asked not to be asked. Obeyed by all fetches, not only the one told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self.is_outage = False

    def ask(self, seconds: float, *, outage: bool) -> None:
        # an outage is when it is out of order; asked too much, it is not
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)
            self.is_outage = outage

    def left_seconds(self) -> float:
        with self._lock:
            return max(0.0, self._until - time.monotonic())


def _failed(
    group: Sequence[str],
    error: str,
    *,
    transient: bool = True,
    retry_after: float | None = None,
    outage: bool = False,
) -> _Outcome:
    return _Outcome(
        found={
            post_id: FetchFailure(post_id, error, transient, retry_after, outage)
            for post_id in group
        }
    )


def _grouped(post_ids: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Groups of at most `size` ids that fit into one URL."""
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    characters = 0
    for post_id in post_ids:
        length = len(quote(post_id, safe="")) + 1
        if group and (len(group) == size or characters + length > _MAX_IDS_CHARACTERS):
            groups.append(tuple(group))
            group, characters = [], 0
        group.append(post_id)
        characters += length
    return [*groups, tuple(group)] if group else groups


def _halves(group: tuple[str, ...]) -> list[tuple[str, ...]]:
    middle = len(group) // 2
    return [group[:middle], group[middle:]]


def _shown(text: str) -> str:
    """What a stranger wrote, short and with everything unprintable escaped."""
    return ascii(text[:_SHOWN_CHARACTERS])


def _redirected(url: str, location: str) -> str | None:
    """Where a redirect goes, or None where that is another origin: the token stays at home."""
    try:
        target = canonical(urljoin(url, location))
        here, there = urlsplit(canonical(url)), urlsplit(target)
        same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        return None
    return target if same and location else None
