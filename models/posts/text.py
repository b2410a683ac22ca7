"""Words of a post, made ready for the text encoder. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from deadpan.core.errors import CheckpointError
from models.posts.normal_form.normalise import MAX_CHARACTERS, normalise_text, trace_text
from models.posts.prediction import PreparedPost, Unread, Window
from models.posts.windows import MAX_WINDOWS, cut

MAX_OCR_CHARACTERS = 1000
"""Words in all pictures of a post together are cut to this."""

OCR_MARKER = "\n"
"""Stands between a post's own words and those in its pictures. A normalised text holds no line
break, so no post can write one."""


def join_ocr(text: str, ocr_texts: Iterable[str]) -> str:
    """A post's words, normalised, and the words in its pictures, as one string.

    That is the text alone when the pictures hold no words; otherwise the text, `OCR_MARKER`, and
    `words_of` the pictures, at most `MAX_OCR_CHARACTERS`. `split_ocr` takes it apart.
    """
    return _joined(text, words_of(ocr_texts))


def words_of(ocr_texts: Iterable[str]) -> str:
    """The words in a post's pictures: normalised, joined by spaces, the same ones once."""
    # dict keeps the order; a post often holds one picture in two sizes
    distinct = dict.fromkeys(normalise_text(ocr) for ocr in ocr_texts)
    return " ".join(filter(None, distinct))


def _joined(text: str, words: str) -> str:
    words = words[:MAX_OCR_CHARACTERS].rstrip()
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
            raise CheckpointError(
                f"{path} is not a tokenizer: {error}; replace the folder with a complete copy"
            ) from error
        # truncation and padding are set once: setting them while another thread encodes fails
        # with "Already borrowed"
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._max_tokens = max_tokens
        # a post that says "[SEP]" means the letters, not the separator
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        normalise_text("é w o r d")  # reads what it looks up, so that no post waits for that
        self._empty = len(tokenizer.encode("").ids)
        self._paired = len(tokenizer.encode("", "").ids)

    def __call__(self, text: str, ocr_texts: Iterable[str] = ()) -> tuple[str, tuple[int, ...]]:
        """Normalise and tokenise a text as its author wrote it, cut to the first window.

        Returns:
            What `join_ocr` gives, and its token ids, not padded; ("", ()) when there are no words.
        """
        joined = join_ocr(normalise_text(text), ocr_texts)
        token_ids = self.encode(joined)
        return (joined, token_ids) if token_ids else ("", ())

    def all(self, posts: Sequence[tuple[str, Iterable[str]]]) -> list[PreparedPost]:
        """Normalise and tokenise posts together; the tokenizer takes a batch without the GIL.

        Takes texts as their authors wrote them, each with what stands in its pictures, and returns
        posts without images, in order.
        """
        texts = [text for text, _ in posts]
        in_pictures = [words_of(ocr_texts) for _, ocr_texts in posts]
        joined = [
            _joined(normalise_text(text), words)
            for text, words in zip(texts, in_pictures, strict=True)
        ]
        found = []
        for text, words, whole, (ids, is_cut) in zip(
            texts, in_pictures, joined, self._encode_all(joined), strict=True
        ):
            if not ids:
                found.append(PreparedPost("", (), (), _unread(text, None, words)))
                continue
            windows, after = self._windows(whole) if is_cut else ((), None)
            unread = _unread(text, after, words)
            first = windows[0].token_ids if windows else ids
            found.append(PreparedPost(whole, first, (), unread, windows))
        return found

    def encode(self, joined: str) -> tuple[int, ...]:
        """Token ids of what `join_ocr` gave; () when there are no words.

        Words in pictures are the second text of a pair: `[CLS] text [SEP] words [SEP]` for BERT
        and its kin. When both are too long together, the longer one is cut first.
        """
        ((token_ids, _),) = self._encode_all([joined])
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

    def _windows(self, joined: str) -> tuple[tuple[Window, ...], int | None]:
        """Windows over a text and the words in its pictures, which together are too long for one;
        each holds a part of both. And after which character of the text nothing is read, if so."""
        text, words = split_ocr(joined)
        of_text, of_words = self._all_spans(text), self._all_spans(words)
        room = self._max_tokens - (self._paired if of_words else self._empty)
        for_words = min(len(of_words), max(room // 2, room - len(of_text)))
        texts = cut(text, of_text, room - for_words) if of_text else [(0, 0)]
        seen = cut(words, of_words, for_words) if of_words else [(0, 0)]
        after = texts[MAX_WINDOWS - 1][1] if len(texts) > MAX_WINDOWS else None
        begin = len(text) + len(OCR_MARKER)
        windows = []
        for number in range(min(max(len(texts), len(seen)), MAX_WINDOWS)):
            start, end = texts[min(number, len(texts) - 1)]
            from_, to = seen[min(number, len(seen) - 1)]
            read = _joined(text[start:end], words[from_:to])
            place = (start, end), (begin + from_, begin + to)
            windows.append(Window(read, self.encode(read), *place))
        return tuple(windows), after

    def _all_spans(self, text: str) -> list[tuple[int, int]]:
        """Of each token, also of those that are cut off, where it stands."""
        whole = self._tokenizer.encode(text)
        return [
            span
            for part in (whole, *whole.overflowing)
            for span, added in zip(part.offsets, part.special_tokens_mask, strict=True)
            if not added
        ]

    def _encode_all(self, joined: Sequence[str]) -> list[tuple[tuple[int, ...], bool]]:
        """Token ids of each, and whether some were cut off."""
        pairs = [split_ocr(one) for one in joined]
        firsts = self._encoded([text for text, _ in pairs])
        with_words = [row for row, (_, words) in enumerate(pairs) if words]
        lengths = self._encoded([pairs[row][1] for row in with_words])
        with_words = [
            row for row, one in zip(with_words, lengths, strict=True) if len(one.ids) > self._empty
        ]
        both = self._encoded([pairs[row] for row in with_words])
        for row, one in zip(with_words, both, strict=True):
            firsts[row] = one
        paired = set(with_words)
        return [
            (tuple(ids), len(ids) == self._max_tokens and bool(one.overflowing))
            if row in paired or len(ids) > self._empty
            else ((), False)
            for row, one in enumerate(firsts)
            for ids in [one.ids]
        ]

    def _encoded(self, inputs: Sequence[str] | Sequence[tuple[str, str]]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(list(inputs))


def _unread(text: str, after: int | None, in_pictures: str) -> tuple[Unread, ...]:
    """What is in no window, of a text as its author wrote it and of all words in its pictures;
    `after` says after which character of the normalised text nothing is read, if so."""
    found = []
    if after is not None or len(text) > MAX_CHARACTERS:
        traced = trace_text(text)
        whole = len(traced.text)
        if after is None and whole < MAX_CHARACTERS:  # the windows hold all that was looked at
            read = MAX_CHARACTERS
        else:
            read = traced.original(0, whole if after is None else after)[1]
        if text[read:].strip():
            found.append(Unread("text", f"cut after {read} of {len(text)} characters"))
    if len(in_pictures) > MAX_OCR_CHARACTERS:
        problem = f"cut after {MAX_OCR_CHARACTERS} of {len(in_pictures)} characters"
        found.append(Unread("text", f"the words in its pictures: {problem}"))
    return tuple(found)
