"""What an answer holds, in the dialects that platforms speak, and whether that may be all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deadpan.core.post_fields import read_id
from sources.mapping import PostMapping, id_of, pick

Given = tuple[str | None, Any]
"""A post's id, None where it has none, and what holds its fields."""

_NEXT = {
    *("next", "nextpage", "nextpageurl", "nextpagetoken", "nextpagepath", "nexturl", "nexturi"),
    *("nextlink", "nexthref", "nextcursor", "nextcursorstr", "nexttoken", "nextmarker"),
    *("nextoffset", "nextkey", "nextid", "nextmaxid", "nextstart", "odatanextlink"),
    *("continuation", "continuationtoken", "paginationtoken", "lastevaluatedkey"),
    *("unprocessedkeys", "unprocessed"),
}
_MORE = {
    *("hasmore", "hasnext", "hasnextpage", "hasmoreitems", "hasmoreresults", "morefollows"),
    *("moreavailable", "more", "istruncated", "truncated", "incomplete", "incompleteresults"),
    *("partial", "ispartial", "partialresults", "timedout", "terminatedearly"),
}
_LAST = {"last", "islast", "islastpage", "lastpagereached", "complete", "iscomplete"}
_TOTAL = {
    *("total", "totalcount", "totalitems", "totalresults", "totalelements", "totalrecords"),
    *("totalhits", "totalposts", "totalsize", "totalnumber", "count", "odatacount", "numfound"),
    *("resultcount", "resultscount", "hitcount"),
}
_PAGES = {"totalpages", "pagecount", "pagestotal", "numpages", "pages"}
_PAGE = {"page", "currentpage", "pagenumber", "number"}
_ERROR = {"error", "errors", "exception", "fault", "errorcode"}
_TRUTH = {"success", "ok", "succeeded", "issuccess", "successful"}
_STATUS = {"status", "statuscode", "code", "httpstatus", "httpcode"}
_FAILED = {"error", "fail", "failed", "failure", "unauthorized", "forbidden", "timeout"}
_ENVELOPES = {
    *("meta", "metadata", "pagination", "paginationinfo", "paging", "page", "pageinfo", "links"),
    *("responsemetadata", "cursor", "cursors", "info", "resultinfo"),
}
_NOT_FOUND = (404, 410)
_NO_ERROR = re.compile("0*|ok|none|no|null|false|success", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer holds.

    Attributes:
        posts: in its order, unchecked.
        doubt: why posts may be missing from it although the platform has them, in words that go
            on after "the post source …"; None where nothing says so.
        not_found: it says in its body, and nowhere else, that what was asked for does not exist.
    """

    posts: tuple[Given, ...]
    doubt: str | None = None
    not_found: bool = False


def read_answer(answer: Any, mapping: PostMapping, asked: Collection[str]) -> Answer | None:
    """Find the posts in an answer.

    Args:
        asked: ids; an object may have them as names.

    Returns:
        None where it holds neither posts nor says that there are none.
    """
    envelopes: list[Mapping[Any, Any]] = []
    found = _container(answer, mapping.posts, envelopes)
    posts = _members(found, mapping, asked)
    if posts is None and mapping.posts:
        posts = _members(answer, mapping, asked, is_sure=False)
        if posts is not None:
            envelopes = []  # it is the list, or the post, itself
    if not posts and any(map(_is_not_found, envelopes)):
        return Answer((), not_found=True)
    if posts is None and any(_total(value) == 0 for _, value in _named(envelopes, _TOTAL)):
        posts = []
    return None if posts is None else Answer(tuple(posts), _doubt(envelopes, len(posts)))


def _container(answer: Any, path: str, envelopes: list[Mapping[Any, Any]]) -> Any:
    """Where the posts are; None where nothing is on the way there, `MISSING` where all else is."""
    value = answer
    while path:
        if value is None or value in ({}, []):
            return None
        if isinstance(value, Mapping):
            envelopes.append(value)
        name, _, path = path.partition(".")
        if name == "*":
            return pick(value, f"{name}.{path}" if path else name)
        value = pick(value, name)
    return value


def _members(
    found: Any, mapping: PostMapping, asked: Collection[str], *, is_sure: bool = True
) -> list[Given] | None:
    """Posts of what should hold them; None where it does not. Null is no post, wherever it is.

    Args:
        is_sure: whether objects in an object are posts, even if neither an id in them nor the
            names they have says so.
    """
    if found is None:
        return []
    if isinstance(found, list):
        return [(id_of(value, mapping), value) for value in found if value is not None]
    if not isinstance(found, Mapping):
        return None
    if id_of(found, mapping) is not None:
        return [(id_of(found, mapping), found)]
    if not all(value is None or isinstance(value, Mapping) for value in found.values()):
        return None
    named = {name: value for name, value in found.items() if value is not None}
    nameless = {name for name, value in named.items() if id_of(value, mapping) is None}
    if nameless <= set(asked):
        return [(id_of(value, mapping) or name, value) for name, value in named.items()]
    return [(id_of(value, mapping), value) for value in named.values()] if is_sure else None


def _plain(name: object) -> str:
    return re.sub("[^a-z0-9]", "", name.lower()) if isinstance(name, str) else ""


def _named(
    envelopes: Sequence[Mapping[Any, Any]], names: Collection[str]
) -> Iterator[tuple[str, Any]]:
    """Members of these objects, and of what is beside the posts in them, by their plain names."""
    for envelope in envelopes:
        for name, value in envelope.items():
            if _plain(name) in names:
                yield str(name)[:40], value
            if isinstance(value, Mapping) and _plain(name) in _ENVELOPES:
                for inner, member in value.items():
                    if _plain(inner) in names:
                        yield f"{name}.{inner}"[:80], member


def _doubt(envelopes: Sequence[Mapping[Any, Any]], given: int) -> str | None:
    for name, value in _named(envelopes, _ERROR):
        if value and not (isinstance(value, str) and _NO_ERROR.fullmatch(value.strip())):
            return f"says '{name}': {_short(value)}"
    for name, value in _named(envelopes, _TRUTH):
        if value is False:
            return f"says that it failed ('{name}')"
    for name, value in _named(envelopes, _STATUS):
        is_failed = isinstance(value, str) and value.lower() in _FAILED
        if is_failed or 400 <= (_total(value) or 0) < 600:
            return f"says '{name}': {_short(value)}"
    for name, value in _named(envelopes, _NEXT):
        if _leads_on(value):
            return f"names a next page ('{name}')"
    for name, value in _named(envelopes, _MORE):
        if value is True or (isinstance(value, str) and value.lower() == "true"):
            return f"says that there is more ('{name}')"
    for name, value in _named(envelopes, _LAST):
        if value is False:
            return f"says that this is not all ('{name}')"
    for name, value in _named(envelopes, _TOTAL):
        total = _total(value)
        if total is not None and total > given:
            return f"says that there are {total} posts ('{name}') and gives {given}"
    for name, value in _named(envelopes, ("shards",)):  # of Elasticsearch
        if isinstance(value, Mapping) and _total(value.get("failed")):
            return f"answers in part ('{name}.failed')"
    pages = [_total(value) for _, value in _named(envelopes, _PAGES)]
    page = [_total(value) for _, value in _named(envelopes, _PAGE)]
    if any(total is not None and total > max([1, *filter(None, page)]) for total in pages):
        return "says that there are more pages"
    return None


def header_doubt(status: int, headers: Mapping[str, str], given: int) -> str | None:
    """The same of an answer's status and headers; their names in any letters."""
    if status == 206:
        return "answered 206 (partial content)"
    if re.search(r"""\brel\s*=\s*(?:"[^"]*\bnext\b|'[^']*\bnext\b|next\b)""", _of(headers, "Link")):
        return "names a next page (header Link)"
    for name in ("X-Next-Page", "X-Next-Cursor", "X-Next", "X-Continuation-Token"):
        if _leads_on(_of(headers, name)):
            return f"names a next page (header {name})"
    for name in ("X-Has-More", "X-Has-Next-Page"):
        if _of(headers, name).lower() in ("true", "1"):
            return f"says that there is more (header {name})"
    for name in ("X-Total-Count", "X-Total", "Total-Count", "X-Pagination-Total-Count"):
        total = _total(_of(headers, name))
        if total is not None and total > given:
            return f"says that there are {total} posts (header {name}) and gives {given}"
    if (found := re.search(r"/\s*([0-9]{1,9})$", _of(headers, "Content-Range"))) and (
        int(found[1]) > given
    ):
        return f"says that there are {found[1]} posts (header Content-Range) and gives {given}"
    return None


def _of(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name) or ""


def _leads_on(value: Any) -> bool:
    """Whether a name of a next page names one."""
    if isinstance(value, Mapping):
        return any(_leads_on(member) for member in value.values())
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "-1", "null", "none", "false", "end")
    return bool(value) and value != -1


def _total(value: Any) -> int | None:
    if isinstance(value, Mapping):  # Elasticsearch: {"value": 50, "relation": "eq"}
        value = value.get("value")
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_not_found(envelope: Mapping[Any, Any]) -> bool:
    """Whether an object gives the status 404 or 410, itself or in its error."""
    inner = [value for name, value in envelope.items() if _plain(name) in ("error", "errors")]
    return any(
        _total(value) in _NOT_FOUND
        for each in (envelope, *(value for value in inner if isinstance(value, Mapping)))
        for name, value in each.items()
        if _plain(name) in _STATUS
    )


def _short(value: Any) -> str:
    return ascii(value)[:80]


def resemblance(asked: str, given: Sequence[Given]) -> str:
    """How another post may be the one that is missing; begins with "; ", or is empty."""
    for post_id, value in given:
        if post_id is None:
            names = _fields_that_hold(asked, value)
            if names:
                return f"; the id stands in '{names[0]}': DEADPAN_SOURCE_FIELDS=id={names[0]}"
        elif post_id != asked and (how := _how(asked, post_id)):
            return f"; {_short(post_id)} is the same {how}"
    return ""


def _fields_that_hold(asked: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return []
    return [str(name)[:40] for name, member in value.items() if read_id(member) == asked]


def _how(asked: str, given: str) -> str:
    if asked.strip() == given.strip():
        return "with spaces around it"
    if asked.casefold() == given.casefold():
        return "in other letters, and ids are compared letter by letter"
    try:
        if len(asked) < 40 and len(given) < 40 and float(asked) == float(given):
            return "as a number, which was rounded or written otherwise; send ids as strings"
    except ValueError:
        pass
    if len(asked) > 2 and (given.endswith(asked) or given.startswith(asked)):
        return "with something before or behind it"
    return ""
