"""Erasing a post or an author: in the database and in the evidence store."""

from __future__ import annotations

from sqlalchemy import Engine

from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.keeping import erasure
from storage.keeping.erasure import Erased, Kind


def erase(
    database: Engine, evidence: EvidenceStore, kind: Kind, subject: str, *, requested_by: str
) -> Erased:
    """Remove what a post or an author said, everywhere that Deadpan keeps it.

    Evidence is deleted before the transaction is committed: should anything fail in between,
    nothing says yet that it is done, and doing it again goes on.

    Args:
        kind, subject: "post" and its id, or "author" as the platform names them.
        requested_by: who asked for it, for the receipt and the audit log.
    """
    with transaction(database) as connection:
        found = erasure.erase(connection, kind, subject, requested_by=requested_by)
        for sha256 in found.evidence:
            evidence.delete(sha256)
    return found
