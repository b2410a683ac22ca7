"""Letters as people read them: what only looks like a letter becomes that letter. Needs no torch.

A word in mathematical bold, in circles, with a Cyrillic a or with spaces between its letters is the
same word to a reader, and another one, or none, to a tokenizer. Nothing here changes what people
are shown.

Look-alikes are those of Unicode's list (UTS #39), from the package `confusable-homoglyphs`.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterator
from importlib.resources import files
from itertools import chain, pairwise

import emoji

from models.posts.normal_form.edits import Edit
from models.posts.normal_form.spelling import word_starts

MAX_MARKS = 2
"""Combining marks of general use that stay on one letter; stacks of dozens hide words."""

MIN_SPACED = 4
"""So many single letters in a row are a word that was written with spaces between."""

_CASED = "A-Za-z\u00c0-\u024f\u0370-\u052f\u0531-\u0587"
# Scripts whose letters join, or stack, by characters that nobody sees.
_JOINING = re.compile("[\u0600-\u109f\u1780-\u18af\u1b00-\u1c4f\ua8e0-\ua8ff\U00011000-\U000116ff]")

_INVISIBLE = re.compile(
    # a flag of a part of a country is written in tags, and is an emoji
    "(?P<flag>\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)"
    # these take room: people see a space
    "|(?P<blank>[\u115f\u1160\u2800\u3164\uffa0])"
    "|[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe0e\ufe0f"
_KEYCAP = "\u20e3"
_KEY = re.compile("[0-9#*\ufe0f]")

_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
# drawn over a letter or around it, they are no part of it; but a digit in a keycap is an emoji
_OVER = frozenset("\u0488\u0489") | {
    chr(code) for code in (*range(0x334, 0x339), *range(0x20D0, 0x20F1))
}

# Letters by themselves, and parts of emoji beside none: a blood type, the metro, information.
_ENCLOSED = "\u24c2\u2139\U0001f170\U0001f171\U0001f17e\U0001f17f"
_ENCLOSED_RUN = re.compile(f"(?<![A-Za-z])[A-Za-z]*[{_ENCLOSED}](?:[{_ENCLOSED}A-Za-z]|\ufe0f)*")
_INDICATORS = re.compile("[\U0001f1e6-\U0001f1ff]+")
_NAMED = re.compile(
    r"(?:LATIN LETTER SMALL CAPITAL|NEGATIVE CIRCLED LATIN CAPITAL LETTER"
    r"|NEGATIVE SQUARED LATIN CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])"
)
_NO_WORDS = re.compile("[\u3131-\u318e\uff65-\uffdc]")
_WORD = re.compile("(?:[^\\W_]|[\u0300-\u036f])+")
# Their words stand beside those of other scripts without a space, so only a letter that is inside a
# Latin word is taken for a Latin one.
_GLUED = re.compile(
    "ARABIC|BENGALI|BOPOMOFO|CJK|DEVANAGARI|GUJARATI|GURMUKHI|HANGUL|HEBREW|HIRAGANA|KANNADA|"
    "KATAKANA|KHMER|LAO|MALAYALAM|MYANMAR|ORIYA|SINHALA|TAMIL|TELUGU|THAI|TIBETAN"
)
_SPACED = re.compile(
    rf"(?<![\w'’])[{_CASED}](?:(?P<by>[ .\-_*~|·•])[{_CASED}])"
    rf"(?:(?:(?P=by)| {{2,}})[{_CASED}](?![\w'’]))+"
)


def invisible(text: str) -> list[Edit]:
    """What nobody sees is dropped; a blank that takes room becomes a space.

    Joiners and variation selectors stay where emoji and scripts are made of them.
    """
    if text.isascii():
        return []
    return [
        (match.start(), match.end(), " " if match["blank"] else "")
        for match in _INVISIBLE.finditer(text)
        if not match["flag"] and not _is_needed(text, match.start())
    ]


def _is_needed(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if text[at] in _SELECTORS:
        return (
            after == _KEYCAP or before in emoji.EMOJI_DATA or f"{before}\ufe0f" in emoji.EMOJI_DATA
        )
    if text[at] not in _JOINERS:
        return False
    if _JOINING.match(before):
        return True
    return text[at] == "\u200d" and _is_symbol(before) and _is_symbol(after)


def _is_symbol(character: str) -> bool:
    return character in ("©", "®") or (character > "\u200d" and not character.isalnum())


def composed(text: str) -> list[Edit]:
    """Letters and their marks as one character where there is one (NFC)."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return []
    found, start = [], 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not _is_joined(text[end]):
            whole = text[start:end]
            if (new := unicodedata.normalize("NFC", whole)) != whole:
                found.append((start, end, new))
            start = end
    return found


def _is_joined(character: str) -> bool:
    """Whether it may become one with the character before: a mark, a part of a syllable."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"


def marks(text: str) -> list[Edit]:
    """Of marks that no letter was composed with, a few stay, and none that are drawn over it."""
    if text.isascii():
        return []
    found = []
    for match in _MARKS.finditer(text):
        is_key = _KEY.fullmatch(text[match.start() - 1 : match.start()])
        kept = [one for one in match[0] if (is_key and one == _KEYCAP) or one not in _OVER]
        kept = kept[:MAX_MARKS]
        if len(kept) < len(match[0]):
            found.append((match.start(), match.end(), "".join(kept)))
    return found


def shapes(text: str) -> list[Edit]:
    """Letters in other shapes (bold, in circles, full width, superscript, small capitals, joined)
    become letters; emoji and what is no letter stay."""
    if text.isascii():
        return []
    found = [
        (at, at + 1, plain)
        for at, character in enumerate(text)
        if character > "\u00ff" and (plain := _plain(character)) is not None
    ]
    runs = list(_INDICATORS.finditer(text))
    # whoever writes one word so writes all, and `TH` `IS` are countries as well
    if not all(_are_flags(run[0]) for run in runs):
        found += [
            (at, at + 1, chr(ord(text[at]) - 0x1F1E6 + ord("A")))
            for run in runs
            for at in range(*run.span())
        ]
    return sorted(found)


def enclosed(text: str) -> list[Edit]:
    """Letters that are also emoji become letters where they are part of a word."""
    if text.isascii():
        return []
    found = []
    for match in _ENCLOSED_RUN.finditer(text):
        signs = [at for at in range(match.start(), match.end()) if text[at] in _ENCLOSED]
        if len(signs) < len(match[0].replace("\ufe0f", "")) or len(signs) > 2:
            for at in signs:
                end = at + 1 + text.startswith("\ufe0f", at + 1)
                found.append((at, end, _letter_of(text[at])))
    return found


def _are_flags(indicators: str) -> bool:
    pairs = [indicators[at : at + 2] for at in range(0, len(indicators), 2)]
    return all(pair in emoji.EMOJI_DATA for pair in pairs)


def _letter_of(character: str) -> str:
    return {"\u24c2": "M", "\u2139": "i"}.get(character) or unicodedata.name(character)[-1]


@functools.lru_cache(maxsize=4096)
def _plain(character: str) -> str | None:
    """What a character is another shape of; None where it is itself."""
    category = unicodedata.category(character)
    if character in emoji.EMOJI_DATA or "\U0001f1e6" <= character <= "\U0001f1ff":
        return None
    if named := _NAMED.fullmatch(unicodedata.name(character, "")):
        is_small = category == "Ll"
        return named[1].lower() if is_small else named[1]
    # jamo and half kana by themselves are no words, and as parts of a syllable they are unknown
    if category[0] not in "LNPS" or _NO_WORDS.match(character):
        return None
    new = unicodedata.normalize("NFKC", character)
    is_greek_sign = "\u03d0" <= character <= "\u03ff" and character in _tables().strict
    if is_greek_sign or new == unicodedata.normalize("NFC", character):
        return None
    if "\uff01" <= character <= "\uff5e":  # of full width, signs too
        return new
    new = new.strip("()")
    is_sign = category[0] in "PS" and "\u2100" <= character <= "\u214f"  # a trade mark, a price
    return new if new.replace(" ", "").isalnum() and not is_sign else None


def lookalikes(text: str) -> list[Edit]:
    """Letters of other scripts that look like Latin ones, in words that are otherwise Latin.

    A run of such letters counts if each of them looks like a Latin one, so `приветhello` stays. A
    word of one other script stays too, unless it looks Latin as a whole, stands among Latin words,
    and no word nearby is truly of that script.
    """
    if text.isascii() or not any(character in _tables().loose for character in text):
        return []
    words = [match.span() for match in _WORD.finditer(text)]
    found: list[Edit] = []
    whole: dict[str, list[list[Edit]]] = {}  # by script
    true: set[str] = set()
    latin = other = 0
    for start, end in words:
        runs = list(_runs(text, start, end))
        scripts = {script for script, _, _ in runs}
        if scripts == {"LATIN"}:
            found += _strange_latin(text, start, end)
            latin += 1
        elif len(scripts) == 1:
            other += 1
            (script,) = scripts
            strict = _tables().strict
            if end - start > 1 and all(c in strict for c in text[start:end]):
                whole.setdefault(script, []).append(
                    [(at, at + 1, strict[text[at]]) for at in range(start, end)]
                )
            else:
                true.add(script)
        elif "LATIN" in scripts:
            latin += 1
            found += _in_latin(text, runs)
    for script, of_words in whole.items():
        if script not in true and not _GLUED.fullmatch(script) and latin > other:
            found += chain.from_iterable(of_words)
    return sorted(found)


def _runs(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Letters of one script that follow each other, digits and marks with those before them."""
    at, script = start, ""
    for index in range(start, end):
        this = _script(text[index])
        if this and script and this != script:
            yield script, at, index
            at = index
        script = this or script
    if script:
        yield script, at, end


def _in_latin(text: str, runs: list[tuple[str, int, int]]) -> Iterator[Edit]:
    loose = _tables().loose
    for number, (script, start, end) in enumerate(runs):
        if script == "LATIN":
            yield from _strange_latin(text, start, end)
            continue
        inside = 0 < number < len(runs) - 1
        letters = [at for at in range(start, end) if _script(text[at])]
        if (inside or not _GLUED.fullmatch(script)) and all(text[at] in loose for at in letters):
            yield from ((at, at + 1, loose[text[at]]) for at in letters)


def _strange_latin(text: str, start: int, end: int) -> Iterator[Edit]:
    """Letters of phonetics in a word of ordinary ones."""
    if text[start:end].isascii() or not any(c.isascii() for c in text[start:end]):
        return
    loose = _tables().loose
    yield from ((at, at + 1, loose[text[at]]) for at in range(start, end) if text[at] in loose)


@functools.lru_cache(maxsize=8192)
def _script(character: str) -> str:
    """By the first word of its name: "LATIN", "CYRILLIC"; empty where it is no letter."""
    if not character.isalpha():
        return ""
    return "LATIN" if character.isascii() else unicodedata.name(character, "?").split()[0]


class _Tables:
    """What looks like an ASCII letter.

    Attributes:
        strict: by itself.
        loose: by itself, or like a small capital, as the Cyrillic letters for t and n do.
    """

    def __init__(self) -> None:
        listed = json.loads(
            files("confusable_homoglyphs").joinpath("confusables.json").read_bytes()
        )
        self.strict: dict[str, str] = {}
        self.loose: dict[str, str] = {}
        for character, others in listed.items():
            if len(character) != 1 or character < "\u0180" or not character.isalpha():
                continue
            like = [one["c"] for one in others if len(one["c"]) == 1]
            letter = next((c for c in like if c.isascii() and c.isalpha()), None)
            small = next((s for c in like if (s := _small_capital(c)) is not None), None)
            if letter is not None:
                self.strict[character] = _in_case_of(character, letter)
            if letter or small:
                self.loose[character] = _in_case_of(character, letter or small or "")


def _small_capital(character: str) -> str | None:
    if character == "\u0138":  # kra, which looks like a small capital k
        return "k"
    named = _NAMED.fullmatch(unicodedata.name(character, ""))
    return named[1].lower() if named and unicodedata.category(character) == "Ll" else None


def _in_case_of(character: str, letter: str) -> str:
    # the list says that all upright strokes look like l: a capital one is an I
    if not character.isupper():
        return letter
    return "I" if letter == "l" else letter.upper()


@functools.cache
def _tables() -> _Tables:
    return _Tables()


def spaced(text: str) -> list[Edit]:
    """`h a t e` and `h.a.t.e` become `hate`: at least `MIN_SPACED` single letters, always with the
    same sign between. Where that is a space, several of them part words; if none do, they are
    parted where words are likely to begin."""
    found: list[Edit] = []
    for match in _SPACED.finditer(text):
        places = [at for at in range(match.start(), match.end()) if text[at].isalpha()]
        if len(places) < MIN_SPACED:
            continue
        gaps = [another - one > 2 for one, another in pairwise(places)]
        if not any(gaps):
            begins = word_starts("".join(text[at] for at in places))
            gaps = [number in begins for number in range(1, len(places))]
        found += [
            (one + 1, another, " " if is_gap else "")
            for (one, another), is_gap in zip(pairwise(places), gaps, strict=True)
        ]
    return found
