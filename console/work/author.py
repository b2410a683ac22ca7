"""Reading what is known of an author, which is noted."""

from __future__ import annotations

from fastapi import Request

from console.web.state import audited, console_of, visitor_of
from storage.base.database import transaction
from storage.base.text import clean_text
from storage.keeping.erasure import digest
from storage.reviews import author as records
from storage.reviews.author import AuthorRecord


def read(request: Request, name: str, *, limit: int, before_id: int | None = None) -> AuthorRecord:
    """Gives an author's record, and writes into the audit log who read it.

    The log names no author, for it outlives an erasure: it has the SHA-256 that a receipt has, too.
    """
    author = clean_text(name, 256)
    with transaction(console_of(request).database, read_only=True) as connection:
        found = records.read(
            connection, author, visitor_of(request).moderator, limit=limit, before_id=before_id
        )
    audited(request, "author.view", f"author {digest(author)}")
    return found
