"""The one form of a text that training and judging share. Needs no torch."""

from __future__ import annotations

import re
import unicodedata

import emoji

from models.posts.normal_form import letters, markup, names_and_links
from models.posts.normal_form.edits import Edit, Rule, Text, TracedText, run

MAX_CHARACTERS = 10_000
"""Texts are cut to this before anything is searched in them: more than all windows of a post hold,
and a text of 10 MB costs no more than a long one."""

_MAX_PASSES = 10
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"<num>", re.IGNORECASE)
_RETWEET = re.compile(r"(?:RT\s*:?\s*@user\b\s*:?\s*|RT\s*:\s*)+", re.IGNORECASE)
_GLUED_RETWEET = re.compile(r"RT(?=@\w)", re.IGNORECASE)
# no emoji but (c) and (r) is without one of these, and the trade mark is punctuation to everyone
_MAYBE_EMOJI = re.compile("[\u203c-\u2121\u2123-\U0010ffff]")
_SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_PUNCTUATION_EMOJI = frozenset("©®™")
_ELONGATION = re.compile(r"([^\d\s])\1{3,}")
# `letters.invisible` left these where they are needed
_KEPT_FORMAT = frozenset("\u200c\u200d") | {chr(code) for code in range(0xE0020, 0xE0080)}


def normalise_text(text: str) -> str:
    """Bring a text into the one form that training and judging share.

    In this order: cut to `MAX_CHARACTERS`; literal escapes (`\\u002c`, as SemEval's files carry
    them) and HTML entities decoded, marks of HTML elements taken out; lone surrogates, control and
    invisible characters dropped; NFC; other shapes of letters and look-alikes become the letters
    that people read (`models.posts.normal_form.letters`), and stacks of marks low; links become
    `http`; names become `@user` and numbers that a data set masked become `0` (MMSD writes `<user>`
    and `<num>`); words with a space behind every letter joined; `RT @user:` and `RT:` at the
    beginning dropped; words of a hashtag in CamelCase parted; more than three of one character cut
    to three (digits stay); emoji become their names, a run of one emoji one name, whatever its skin
    tone; white space collapsed. Hashtags keep their `#`, letter case and emoticons are kept.
    Repeated until nothing changes, at most `_MAX_PASSES` times, because one decoding may uncover
    another.

    Why names for emoji: MiniLM's vocabulary knows 5 of the 348 emoji that the training data hold;
    all others are one and the same unknown token to it.

    Args:
        text: any string, of any length.

    Returns:
        At most `MAX_CHARACTERS` characters that encode to UTF-8 and hold no NUL; empty when
        nothing readable is left. Never raises.
    """
    return _normalised(Text(text[:MAX_CHARACTERS])).text


def trace_text(text: str) -> TracedText:
    """What `normalise_text` gives, and where each character of it stood in the text.

    Every letter of the first `MAX_CHARACTERS` is in what some character stands for, or in one of
    `replaced`: a "name", a "link", the "markup" of HTML, the "retweet" sign at the beginning, or
    the "spelling" of one character, which may be one that nobody sees.
    """
    traced = TracedText(text[:MAX_CHARACTERS])
    _normalised(traced)
    return traced


def _normalised(text: Text) -> Text:
    for _ in range(_MAX_PASSES):
        before = text.text
        run(text, _RULES)
        if text.text == before:
            break
    return text


def _surrogates(text: str) -> list[Edit]:
    """Pairs that escapes spelt out become one character; lone ones are dropped."""
    return [
        (*match.span(), match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore"))
        for match in ([] if text.isascii() else _SURROGATES.finditer(text))
    ]


def _controls(text: str) -> list[Edit]:
    if text.isprintable():
        return []
    return [
        (at, at + 1, new)
        for at, character in enumerate(text)
        if (new := _visible(character)) != character
    ]


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return " " if character.isspace() else ""
    if category == "Cf" and character not in _KEPT_FORMAT:
        return ""
    return character


def _glued_retweet(text: str) -> list[Edit]:
    return [(2, 2, " ")] if _GLUED_RETWEET.match(text) else []


def _retweet(text: str) -> list[Edit]:
    match = _RETWEET.match(text)
    return [(0, match.end(), "")] if match else []


def _masked_numbers(text: str) -> list[Edit]:
    return [(*match.span(), "0") for match in _NUMBER.finditer(text)]


def _spaces(text: str) -> list[Edit]:
    if " ".join(text.split()) == text:
        return []
    return [
        (start, end, " " if start > 0 and end < len(text) else "")
        for match in _SPACES.finditer(text)
        for start, end in [match.span()]
        if match[0] != " " or not 0 < start <= end < len(text)
    ]


def _elongations(text: str) -> list[Edit]:
    return [(m.start() + 2, m.end(), m[1]) for m in _ELONGATION.finditer(text)]


def _skin_tones(text: str) -> list[Edit]:
    return [(*match.span(), "") for match in _SKIN_TONES.finditer(text)]


def _emoji_names(text: str) -> list[Edit]:
    if not _MAYBE_EMOJI.search(text):
        return []
    found, last = [], ""
    # not joined: sequences that Unicode does not know have no name of their own
    for token in emoji.analyze(text, non_emoji=True, join_emoji=False):
        if isinstance(token.value, str) or token.chars in _PUNCTUATION_EMOJI:
            if not token.chars.isspace():
                last = ""
            continue
        name = emoji.EMOJI_DATA[token.chars]["en"].strip(":").replace("_", " ")
        found.append((token.value.start, token.value.end, f" {name} " if name != last else ""))
        last = name
    return found


def _too_long(text: str) -> list[Edit]:
    return [(MAX_CHARACTERS, len(text), "")] if len(text) > MAX_CHARACTERS else []


_RULES = (
    Rule(markup.escapes, "spelling"),
    Rule(markup.entities, "spelling"),
    Rule(_surrogates),
    Rule(markup.tags, "markup"),
    Rule(letters.invisible),
    Rule(_controls),
    Rule(_skin_tones),
    Rule(letters.composed),
    Rule(letters.shapes),
    Rule(letters.enclosed),
    Rule(letters.marks),
    Rule(letters.lookalikes),
    Rule(names_and_links.links, "link"),
    Rule(_glued_retweet),
    Rule(names_and_links.names, "name"),
    Rule(_masked_numbers),
    Rule(letters.spaced),
    Rule(_spaces),
    Rule(_retweet, "retweet"),
    Rule(names_and_links.hashtags),
    Rule(_elongations),
    Rule(_emoji_names),
    Rule(_spaces),
    Rule(_too_long),
    Rule(_spaces),
)
