"""Which language a post's words are in, where its platform does not say. Needs no torch."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MIN_PROBABILITY = 0.4
"""Below it the language is unknown. On 2,268 tweets in seven languages (UMSAB's development part),
1.1 % are then given a wrong language and 5.4 % none; with every guess taken, 3.1 % a wrong one."""

_MOST_CHARACTERS = 300
"""That are looked at: what is cheap to read, and no longer than two tweets."""

_NO_WORDS = re.compile(r"@\w+|https?\S*|[#\d]")

_KIN = {
    # one written language under several names: varieties, and names that platforms still use
    **dict.fromkeys(("ary", "arz"), "ar"),
    **dict.fromkeys(("nb", "nn"), "no"),
    **dict.fromkeys(("wuu", "yue", "cmn"), "zh"),
    **dict.fromkeys(("iw", "hbo"), "he"),
    "grc": "el",
    "in": "id",
    "ji": "yi",
    "uzs": "uz",
}
_NO_LANGUAGE = re.compile(r"und|zxx|mul|mis|q[a-t][a-z]")
"""Of ISO 639: undetermined, no linguistic content, several, uncoded, and private use, where some
platforms put posts of hashtags or links alone."""


def stated(tag: str | None) -> str | None:
    """The language that a platform states, by one name; None where the tag names none.

    Args:
        tag: two or three small letters of ISO 639, such as `de`; not a whole tag such as `pt-BR`.
    """
    if tag is None or _NO_LANGUAGE.fullmatch(tag):
        return None
    return _KIN.get(tag, tag)


def detect(text: str) -> str | None:
    """The language of a text as its author wrote it; None where there are no words, or no language
    is likely enough.

    It reads the beginning alone, so a long text takes no longer than a short one. Romanised Hindi
    is no language that it knows: it mostly says nothing of it, or English.
    """
    # links and names are no words of a language; capitals are others' letters to it
    words = " ".join(_NO_WORDS.sub(" ", text[: 4 * _MOST_CHARACTERS]).lower().split())
    if not any(map(str.isalpha, words)):
        return None
    language, probability = _identifier().classify(words[:_MOST_CHARACTERS])
    return stated(language) if probability >= MIN_PROBABILITY else None


@cache
def _identifier() -> LanguageIdentifier:
    # takes a second and 80 MB, and nobody needs it before the first post
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
