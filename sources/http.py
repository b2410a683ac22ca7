"""The platform's HTTP API as a post source."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from sources.absence import Absence, Outcome, Question
from sources.answer import Answer, header_doubt, read_answer
from sources.mapping import PostMapping, post_of
from sources.net.connection import TransferError
from sources.net.pauses import pause_of
from sources.net.threads import Threads
from sources.net.throttle import NotNowError, Throttle, Turn
from sources.net.transport import BodyTooLargeError, Response, Transport, canonical, read_body
from sources.pictures.allowed import ImageLimits
from sources.pictures.download import described
from sources.post import FetchFailure, Found, Gone, Post, failures
from sources.source import Look, PicturedSource

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 32 * 1024 * 1024
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_SHOWN_CHARACTERS = 80
_MAX_IDS_CHARACTERS = 6000  # most servers refuse a request line of more than 8 KiB

_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)


class HttpSource(PicturedSource):
    """Fetches posts from a URL with `{ids}` (many, comma-separated) or `{id}` (one) in it.

    Args:
        url: the template; `sources.open` checks it.
        token: sent as a bearer token to the template's own origin and nowhere else.
        timeout_seconds: for one request, from its first packet to the last byte of its answer.
        ids_per_request: at most, where the template takes many.
        threads: requests at once over all fetches, and again as many images.
        throttle: says when to ask for how much; one of its own when left out.
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
        look: Look | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        throttle: Throttle | None = None,
    ) -> None:
        super().__init__(limits, threads)
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
        self._absence = Absence(
            ids_per_request if self._takes_many else 1,
            source="the post source",
            id_field=self._mapping.id,
        )
        self._max_answer_bytes = max_answer_bytes
        self._look = look
        self._throttle = throttle or Throttle(threads, ids_per_request)
        self._transport = Transport(connections=threads)
        self._threads = Threads(threads, "deadpan-source")

    def close(self) -> None:
        """Give back connections and threads, after the requests that are under way."""
        self._throttle.close()
        self._threads.close()
        self._transport.close()
        super().close()

    def find(self, post_ids: Sequence[str]) -> dict[str, Found]:
        """Fetch posts without their images."""
        refusals = {post_id: self._refusal(post_id) for post_id in post_ids}
        found: dict[str, Found] = {
            post_id: FetchFailure(post_id, refusal, transient=False)
            for post_id, refusal in refusals.items()
            if refusal is not None
        }
        return found | self._found([each for each in post_ids if refusals[each] is None])

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
                f"post id '{post_id}' contains a comma, and a source with {{ids}} separates ids "
                "with commas; use a source with {id}"
            )
        segment = self._before.rpartition("/")[2] + quoted + self._after.partition("/")[0]
        if segment.split("?")[0].split("#")[0] in (".", ".."):
            # Every HTTP client and proxy takes these out of a path, so another URL would be asked.
            return (
                f"post id '{post_id}' would lead to another folder in a URL's path; use a source "
                "with the id in its query"
            )
        return None

    def _found(self, post_ids: Sequence[str]) -> dict[str, Found]:
        size = min(self._absence.at_most, self._throttle.limits.ids)
        questions = [Question(group) for group in _grouped(post_ids, size)]
        give_up_at = self._throttle.patience()
        found: dict[str, Found] = {}
        waiting: dict[Future[Outcome], Question] = {}
        ended: SimpleQueue[Future[Outcome]] = SimpleQueue()
        while questions or waiting:
            for question in questions:
                future = self._threads.submit(self._asked, question, give_up_at)
                waiting[future] = question
                future.add_done_callback(ended.put)
            done = ended.get()
            asked = waiting.pop(done)
            try:
                results, questions = done.result()
            except CancelledError:
                problem = "the worker was stopped before the post was fetched"
                results, questions = failures(asked.ids, problem, untried=True), []
            found |= results
        return found

    def _asked(self, question: Question, give_up_at: float) -> Outcome:
        try:
            with self._throttle.turn(give_up_at) as turn:
                return self._ask(question, turn)
        except NotNowError as pause:
            problem = "the post source asked to be left alone for a while"
            seconds = pause.seconds
            return failures(question.ids, problem, retry_after_seconds=seconds, untried=True), []
        except Exception as error:
            # Whatever the platform found to break us with, the other posts of the chunk go on.
            log.exception("asking the post source failed unexpectedly")
            problem = f"the post source could not be read: {type(error).__name__}"
            return failures(question.ids, problem), []

    def _ask(self, question: Question, turn: Turn) -> Outcome:
        group = question.ids
        url = self._before + ",".join(map(_quoted, question.asked)) + self._after
        ends_at = time.monotonic() + self._timeout_seconds
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                left_seconds = max(0.001, ends_at - time.monotonic())
                with self._transport.request(
                    "GET", url, seconds=left_seconds, headers=self._headers
                ) as response:
                    if response.status not in _REDIRECTS:
                        return self._read(question, response, url, turn)
                    location = response.headers.get("Location", "")
                target = _redirected(url, location)
                if target is None:
                    problem = f"the post source redirects elsewhere, to {_shown(location)}"
                    return failures(group, problem, outage=True), []
                url = target
        except BodyTooLargeError as error:
            if len(group) > 1:
                return {}, question.halves()
            return failures(group, f"the post source {error} for one post", transient=False), []
        except TransferError as error:
            # Even a wrong certificate is transient here: it is the platform's, not the post's.
            return failures(group, f"the post source {error}", outage=True), []
        problem = f"the post source redirects more than {_MAX_REDIRECTS} times"
        return failures(group, problem, outage=True), []

    def _read(self, question: Question, response: Response, url: str, turn: Turn) -> Outcome:
        group = question.ids
        status = response.status
        said = f"the post source answered {described(status)}"
        pause = pause_of(response)
        if pause is not None:
            seconds = turn.refused(pause.seconds)
            return failures(group, said, retry_after_seconds=seconds, untried=True), []
        if status < 500:
            turn.answered()
        if status in (404, 410):
            if len(group) > 1:
                return {}, [Question((post_id,)) for post_id in group]
            return {post_id: Gone(post_id, said) for post_id in group}, []
        if status in (401, 403):
            return failures(group, f"{said}; check DEADPAN_SOURCE_TOKEN", outage=True), []
        if status == 408 or status >= 500 or status < 200:
            return failures(group, said, outage=True), []
        if status >= 300:
            if len(group) > 1:
                return {}, question.halves()
            return failures(group, said, transient=False), []
        body = read_body(response, self._max_answer_bytes)
        content_type = response.headers.get("Content-Type", "")
        answer = self._answer(status, body, content_type, question.asked)
        if answer is None:
            beginning = body[:_SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
            problem = (
                f"{said} with {_shown(content_type or 'no content type')}, "
                f"which contains no posts: {_shown(beginning)}"
            )
            return failures(group, problem, outage=True), []
        if answer.doubt is None:
            doubt = header_doubt(status, response.headers, len(answer.posts))
            answer = replace(answer, doubt=doubt)
        return self._absence.outcome(question, answer, partial(self._post, url))

    def _answer(
        self, status: int, body: bytes, content_type: str, group: tuple[str, ...]
    ) -> Answer | None:
        if status == 204:
            return Answer(())
        try:
            # not strict: a text may hold a raw tab, line break or NUL
            value = json.loads(decoded(body, content_type), strict=False)
            return read_answer(value, self._mapping, set(group))
        except (ValueError, RecursionError):
            return None

    def _post(self, url: str, post_id: str, value: Any) -> Post:
        if self._look is not None:
            self._look(post_id, value)
        return post_of(post_id, value, self._mapping, base_url=url)


def _grouped(post_ids: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Groups of at most `size` ids that fit into one URL."""
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    characters = 0
    for post_id in post_ids:
        length = len(_quoted(post_id)) + 1
        if group and (len(group) == size or characters + length > _MAX_IDS_CHARACTERS):
            groups.append(tuple(group))
            group, characters = [], 0
        group.append(post_id)
        characters += length
    return [*groups, tuple(group)] if group else groups


def _quoted(post_id: str) -> str:
    return quote(post_id, safe="")


def decoded(body: bytes, content_type: str) -> str:
    """The text of an answer. One that was cut within a character has U+FFFD there, and is read.

    A mark says more than the header, and the header more than the bytes; JSON is UTF-8 otherwise.
    """
    encoding = json.detect_encoding(body)  # by a mark, or by the NULs of UTF-16 and UTF-32
    if encoding == "utf-8" and (named := _CHARSET.search(content_type)):
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            # Only now: most headers that name another encoding are wrong.
            with contextlib.suppress(LookupError, UnicodeError):
                return body.decode(named[1], "replace")
    return body.decode(encoding, "replace")


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
