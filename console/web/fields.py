"""What addresses and forms carry: row ids, texts, and a message for each value that is invalid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import Form, Path, Query
from pydantic import BeforeValidator

from storage.base.text import UNKNOWN_LANGUAGE

BIGGEST: Final = 2**63 - 1
RowId = Annotated[int, Path(ge=1, le=BIGGEST)]
BeforeId = Annotated[
    int | None, Query(ge=1, le=BIGGEST, description="The id of the last one seen; reads on.")
]
Short = Annotated[str, Form(max_length=64)]
Note = Annotated[str, Form(max_length=20_000)]


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


_Row = TypeVar("_Row", bound=_Numbered)


def one_page(found: Sequence[_Row], limit: int) -> tuple[list[_Row], int | None]:
    """Gives the rows of a page, and the id that the next one begins before; None for the last.

    Args:
        found: one more than the page holds, if there are more.
    """
    return list(found[:limit]), found[limit - 1].id if len(found) > limit else None


def clean(value: str) -> str:
    """Text from an address, without what no database takes."""
    return value.strip().replace("\x00", "").encode("utf-8", "replace").decode()[:256]


def _id_or_none(given: Any) -> int | None:
    fits = isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 19
    return int(given) if fits else None


Text = Annotated[str, BeforeValidator(clean)]
CleanForm = Annotated[str, BeforeValidator(clean), Form(max_length=254)]
JustDone = Annotated[int | None, BeforeValidator(_id_or_none), Query()]
"""A row that a page mentions in passing; None for an id that is invalid, which costs no page."""


def language_code(given: str) -> str:
    """Gives a language as filters take it.

    Raises:
        ValueError: it is not a language code.
    """
    if not (given.isascii() and given.isalpha() and 2 <= len(given) <= 3):
        raise ValueError(
            f"use two or three letters such as de, or {UNKNOWN_LANGUAGE} for posts in an unknown "
            "language"
        )
    return given


def what_is_wrong(error: Mapping[str, Any]) -> str:
    """The message of a pydantic error as the rest of a sentence: "must be greater than 0"."""
    said = str(error["msg"]).removeprefix("Value error, ").partition(", unable to parse")[0]
    said = said.replace("Input should be", "must be")
    return said[:1].lower() + said[1:]
