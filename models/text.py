"""Words of a post, made ready for the text encoder. Needs no torch."""

from __future__ import annotations

import html
import re
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer

from deadpan.errors import CheckpointError

MAX_CHARACTERS = 4000
"""Texts are cut to this before anything is searched in them: 128 tokens are never more, and a
text of 10 MB costs no more than a long one."""

_MAX_PASSES = 10
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_LINK = re.compile(r"(?:https?:/*|www\.|pic\.twitter\.com/)\S*", re.IGNORECASE)
_NAME = re.compile(r"<user>|(?<!\w)@\w+", re.IGNORECASE)
_NUMBER = re.compile(r"<num>", re.IGNORECASE)
_RETWEET = re.compile(r"(?:RT\s+@user\s*:?\s*)+", re.IGNORECASE)
_ELONGATION = re.compile(r"([^\d\s])\1{3,}")
# Joiners build emoji and several scripts, and tag characters build flags; every other invisible
# format character (bidirectional overrides, zero-width space, soft hyphen) only hides words.
_KEPT_FORMAT = frozenset("\u200c\u200d") | {chr(code) for code in range(0xE0020, 0xE0080)}


def normalise_text(text: str) -> str:
    """Bring a text into the one form that training and judging share.

    In this order: cut to `MAX_CHARACTERS`; literal escapes (`\\u002c`, as SemEval's files carry
    them) and HTML entities decoded; lone surrogates, control and invisible format characters
    dropped, NFC; links become `http`; names become `@user` and numbers that a data set masked
    become `0` (MMSD writes `<user>` and `<num>`); a leading `RT @user:` dropped; more than three of
    one character cut to three (digits stay); white space collapsed. Emoji, hashtags and letter
    case are kept. Repeated until nothing changes, at most `_MAX_PASSES` times, because one
    decoding may uncover another.

    Args:
        text: any string, of any length.

    Returns:
        At most `MAX_CHARACTERS` characters that encode to UTF-8 and hold no NUL; empty when
        nothing readable is left. Never raises.
    """
    text = text[:MAX_CHARACTERS]
    for _ in range(_MAX_PASSES):
        before = text
        text = _one_pass(text)
        if text == before:
            break
    return text


def _one_pass(text: str) -> str:
    if "\\u" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    if "&" in text:
        text = html.unescape(text)
    # joins surrogate pairs that escapes spelt out, and drops the lone ones
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    if not text.isprintable():
        text = "".join(map(_visible, text))
    text = unicodedata.normalize("NFC", text)
    text = _LINK.sub("http", text)
    text = _NAME.sub("@user", text)
    text = _NUMBER.sub("0", text)
    text = " ".join(text.split())
    if (retweet := _RETWEET.match(text)) is not None:
        text = text[retweet.end() :]
    text = _ELONGATION.sub(r"\1\1\1", text)
    return " ".join(text[:MAX_CHARACTERS].split())


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return " " if character.isspace() else ""
    if category == "Cf" and character not in _KEPT_FORMAT:
        return ""
    return character


class TextPreparer:
    """Normalises and tokenises; safe to use from several threads, for nothing in it changes.

    Args:
        folder: holds `tokenizer.json`, in the Hugging Face tokenizers format.
        max_tokens: with the tokenizer's special tokens; longer texts are cut.

    Raises:
        CheckpointError: the tokenizer is missing or cannot be read.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for all it cannot read
            raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
        # truncation and padding are set once: setting them while another thread encodes fails
        # with "Already borrowed"
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        # a post that says "[SEP]" means the letters, not the separator
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._empty = len(tokenizer.encode("").ids)

    def __call__(self, text: str) -> tuple[str, tuple[int, ...]]:
        """Normalised text and its token ids, not padded; ("", ()) when there are no words."""
        normalised = normalise_text(text)
        ids = self._tokenizer.encode(normalised).ids if normalised else []
        if len(ids) <= self._empty:
            return "", ()
        return normalised, tuple(ids)
