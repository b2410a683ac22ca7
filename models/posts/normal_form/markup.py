"""Marks of HTML in a text: what Mastodon, forums and feeds give. Needs no torch.

A platform may as well show a text as it is, so only what is surely a mark of HTML is taken out, and
never what stands between two of them: an element that exists, with attributes that exist.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

from models.posts.normal_form.edits import Edit

_BLOCKS = (
    "p|br|hr|div|li|ul|ol|dl|dt|dd|h[1-6]|blockquote|pre|table|thead|tbody|tr|td|th|img|picture|video|"
    "audio|iframe|figure|figcaption|section|article|header|footer|script|style|noscript|details|summary"
)
_INLINE = (
    "a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|rp|rt|ruby|s|samp|small|span|strike|"
    "strong|sub|sup|time|tt|u|wbr"
)
_VALUE = r"\s*=\s*(?:\"[^\"<>]{0,2000}\"|'[^'<>]{0,2000}'|[^\s\"'=<>`]{1,2000})"
_ATTRIBUTES = (
    "href|src|srcset|rel|target|class|id|lang|dir|translate|width|height|style|loading|decoding|datetime|"
    "cite|type|start|align|color|face|size|role|referrerpolicy|sizes|poster|alt|title|aria-label|"
    r"aria-hidden|tabindex|data-[a-z\-]{1,40}|itemprop|draggable"
)
_TAG = re.compile(
    rf"</(?:(?:{_BLOCKS})|{_INLINE})\s*>"
    rf"|<(?:(?P<block>{_BLOCKS})|{_INLINE})(?P<with>(?:\s+(?:{_ATTRIBUTES}){_VALUE})*)\s*/?>",
    re.IGNORECASE,
)
_END_OF_BLOCK = re.compile(rf"</(?:{_BLOCKS})\s*>", re.IGNORECASE)
_SAID = re.compile(
    r"\s(?:alt|title|aria-label)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE
)

# With its semicolon; those without that HTML still takes (`&notes` as `¬es`) would swallow words.
_ENTITY = re.compile(
    r"&(?:#[0-9]{1,7};?|#x[0-9a-f]{1,6};?|[a-z][a-z0-9]{1,31};|(?:amp|lt|gt|quot|nbsp)(?![a-z0-9]))",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def escapes(text: str) -> list[Edit]:
    """Escapes that were left in a text (`\\u002c`, as in SemEval's files) become characters."""
    if "\\u" not in text:
        return []
    return [(*match.span(), chr(int(match[1], 16))) for match in _ESCAPE.finditer(text)]


def entities(text: str) -> list[Edit]:
    """Characters that HTML writes by name or number become themselves."""
    if "&" not in text:
        return []
    return [
        (*match.span(), new)
        for match in _ENTITY.finditer(text)
        if match[0][1] == "#" or match[0][-1] != ";" or match[0][1:] in html5
        if (new := html.unescape(match[0])) != match[0]
    ]


def tags(text: str) -> list[Edit]:
    """A mark of an element is taken out: one that begins a line or a box leaves a space, and words
    for those who do not see (`alt`, `title`) stay."""
    if "<" not in text or ">" not in text:
        return []
    found = []
    for match in _TAG.finditer(text):
        said = [next(filter(None, each), "") for each in _SAID.findall(match["with"] or "")]
        is_block = bool(match["block"]) or bool(_END_OF_BLOCK.fullmatch(match[0]))
        new = f" {' '.join(said)} " if any(said) else " " if is_block else ""
        found.append((*match.span(), new))
    return found
