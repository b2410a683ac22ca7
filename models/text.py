"""Words of a post, made ready for the text encoder. Needs no torch."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import emoji
from tokenizers import Tokenizer

from deadpan.errors import CheckpointError

MAX_CHARACTERS = 4000
"""Texts are cut to this before anything is searched in them: 128 tokens are never more, and a
text of 10 MB costs no more than a long one."""

MAX_OCR_CHARACTERS = 1000
"""Words in all pictures of a post together are cut to this."""

OCR_MARKER = "\n"
"""Stands between a post's own words and those in its pictures. A normalised text holds no line
break, so no post can write one."""

_MAX_PASSES = 10
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_LINK = re.compile(r"(?:https?:/*|www\.|pic\.twitter\.com/)\S*", re.IGNORECASE)
_NAME = re.compile(r"<user>|(?<!\w)@\w+", re.IGNORECASE)
_NUMBER = re.compile(r"<num>", re.IGNORECASE)
_RETWEET = re.compile(r"(?:RT\s*:?\s*@user\b\s*:?\s*|RT\s*:\s*)+", re.IGNORECASE)
_GLUED_RETWEET = re.compile(r"RT(?=@\w)", re.IGNORECASE)
_HASHTAG = re.compile(r"(?<!\w)#\w+")
# "ApplyNow", "TeamUSA", "NBCNews", "ILoveIt"; but "iPhone" is one word
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
# no emoji but (c) and (r) is without one of these, and the trade mark is punctuation to everyone
_MAYBE_EMOJI = re.compile("[\u203c-\u2121\u2123-\U0010ffff]")
_SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_PUNCTUATION_EMOJI = frozenset("©®™")
_ELONGATION = re.compile(r"([^\d\s])\1{3,}")
# Joiners build emoji and several scripts, and tag characters build flags; every other invisible
# format character (bidirectional overrides, zero-width space, soft hyphen) only hides words.
_KEPT_FORMAT = frozenset("\u200c\u200d") | {chr(code) for code in range(0xE0020, 0xE0080)}


def normalise_text(text: str) -> str:
    """Bring a text into the one form that training and judging share.

    In this order: cut to `MAX_CHARACTERS`; literal escapes (`\\u002c`, as SemEval's files carry
    them) and HTML entities decoded; lone surrogates, control and invisible format characters
    dropped, NFC; links become `http`; names become `@user` and numbers that a data set masked
    become `0` (MMSD writes `<user>` and `<num>`); `RT @user:` and `RT:` at the beginning dropped;
    words of a hashtag in CamelCase parted; more than three of one character cut to three (digits
    stay); emoji become their names, a run of one emoji one name, whatever its skin tone; white
    space collapsed. Hashtags keep their `#`, letter case and emoticons are kept. Repeated until
    nothing changes, at most `_MAX_PASSES` times, because one decoding may uncover another.

    Why names for emoji: MiniLM's vocabulary knows 5 of the 348 emoji that the training data hold;
    all others are one and the same unknown token to it.

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
    if _GLUED_RETWEET.match(text):
        text = f"RT {text[2:]}"
    text = _NAME.sub("@user", text)
    text = _NUMBER.sub("0", text)
    text = " ".join(text.split())
    if (retweet := _RETWEET.match(text)) is not None:
        text = text[retweet.end() :]
    if "#" in text:
        text = _HASHTAG.sub(lambda match: _CAMEL.sub(" ", match[0]), text)
    text = _ELONGATION.sub(r"\1\1\1", text)
    if _MAYBE_EMOJI.search(text):
        text = _name_emoji(text)
    return " ".join(text[:MAX_CHARACTERS].split())


def _name_emoji(text: str) -> str:
    parts = []
    last = ""
    # not joined: sequences that Unicode does not know have no name of their own
    for token in emoji.analyze(_SKIN_TONES.sub("", text), non_emoji=True, join_emoji=False):
        if isinstance(token.value, str) or token.chars in _PUNCTUATION_EMOJI:
            parts.append(token.chars)
            if not token.chars.isspace():
                last = ""
            continue
        name = emoji.EMOJI_DATA[token.chars]["en"].strip(":").replace("_", " ")
        if name != last:
            parts.append(f" {name} ")
            last = name
    return "".join(parts)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return " " if character.isspace() else ""
    if category == "Cf" and character not in _KEPT_FORMAT:
        return ""
    return character


def join_ocr(text: str, ocr_texts: Iterable[str]) -> str:
    """A post's words and the words in its pictures, as one string.

    Args:
        text: normalised.
        ocr_texts: as read from the pictures, in the post's order.

    Returns:
        The text alone when the pictures hold no words; otherwise the text, `OCR_MARKER`, and the
        pictures' words: normalised, joined by spaces, the same ones once, at most
        `MAX_OCR_CHARACTERS`. `split_ocr` takes it apart.
    """
    # dict keeps the order; a post often holds one picture in two sizes
    distinct = dict.fromkeys(normalise_text(ocr) for ocr in ocr_texts)
    words = " ".join(filter(None, distinct))[:MAX_OCR_CHARACTERS].rstrip()
    return f"{text}{OCR_MARKER}{words}" if words else text


def split_ocr(joined: str) -> tuple[str, str]:
    """A post's words and those in its pictures, from what `join_ocr` gave."""
    text, _, words = joined.partition(OCR_MARKER)
    return text, words


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

    def __call__(self, text: str, ocr_texts: Iterable[str] = ()) -> tuple[str, tuple[int, ...]]:
        """Normalise and tokenise one post.

        Args:
            text: as its author wrote it.
            ocr_texts: what stands in its pictures.

        Returns:
            What `join_ocr` gives, and its token ids, not padded; ("", ()) when there are no words.
        """
        ((joined, token_ids),) = self.all([(text, ocr_texts)])
        return joined, token_ids

    def all(self, posts: Sequence[tuple[str, Iterable[str]]]) -> list[tuple[str, tuple[int, ...]]]:
        """Normalise and tokenise posts together; the tokenizer takes a batch without the GIL.

        Args:
            posts: texts as their authors wrote them, each with what stands in its pictures.

        Returns:
            What calling it for each post gives.
        """
        joined = [join_ocr(normalise_text(text), ocr_texts) for text, ocr_texts in posts]
        return [
            (text, token_ids) if token_ids else ("", ())
            for text, token_ids in zip(joined, self._encode_all(joined), strict=True)
        ]

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of what `join_ocr` gave; () when there are no words.

        Words in pictures are the second text of a pair: `[CLS] text [SEP] words [SEP]` for BERT
        and its kin. When both are too long together, the longer one is cut first.
        """
        (token_ids,) = self._encode_all([joined])
        return token_ids

    def spans(self, joined: str) -> list[tuple[int, int]]:
        """Where each token of `encode` stands in the text: first character, and after the last.

        A token that the tokenizer added stands nowhere: (0, 0).
        """
        text, words = split_ocr(joined)
        paired = words and len(self._tokenizer.encode(words).ids) > self._empty
        found = self._tokenizer.encode(text, words) if paired else self._tokenizer.encode(text)
        after = len(text) + len(OCR_MARKER)
        return [
            (0, 0) if of is None else (start + of * after, end + of * after)
            for of, (start, end) in zip(found.sequence_ids, found.offsets, strict=True)
        ]

    def _encode_all(self, joined: Sequence[str]) -> list[tuple[int, ...]]:
        pairs = [split_ocr(one) for one in joined]
        firsts = self._ids([text for text, _ in pairs])
        with_words = [row for row, (_, words) in enumerate(pairs) if words]
        lengths = self._ids([pairs[row][1] for row in with_words])
        with_words = [
            row for row, ids in zip(with_words, lengths, strict=True) if len(ids) > self._empty
        ]
        found = [tuple(ids) if len(ids) > self._empty else () for ids in firsts]
        both = self._ids([pairs[row] for row in with_words])
        for row, ids in zip(with_words, both, strict=True):
            found[row] = tuple(ids)
        return found

    def _ids(self, inputs: Sequence[str] | Sequence[tuple[str, str]]) -> list[list[int]]:
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(inputs))]
