"""What keeps the rest going: the outbox, leases, receipts of erasures, tallies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text

from storage.base.columns import NUMBERED, PRIMARY, Id, partial_index, table
from storage.tables.posts import PostId, Sha256

PENDING_EVENT: Final = "delivered_at IS NULL AND parked_at IS NULL"
PARKED_EVENT: Final = "parked_at IS NOT NULL"
DELIVERED_EVENT: Final = "delivered_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the platform is told; pending until it was delivered or parked."""

    id: Id
    event: Annotated[str, String(64)]
    post_id: PostId
    idempotency_key: Annotated[str, String(128), {"unique": True}]
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    delivered_at: datetime | None
    parked_at: datetime | None
    last_error: Annotated[str | None, Text]
    traceparent: Annotated[str | None, String(55)]


outbox: Final = table(
    "outbox",
    Event,
    # Of millions of rows few are pending or parked: these indexes hold only those.
    partial_index("ix_outbox_due", "next_attempt_at", "id", where=PENDING_EVENT),
    partial_index("ix_outbox_order", "post_id", "id", where=PENDING_EVENT),
    partial_index("ix_outbox_parked", "id", where=PARKED_EVENT),
    partial_index("ix_outbox_delivered_at", "delivered_at", where=DELIVERED_EVENT),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """That something was erased; it keeps no id and no content."""

    id: Id
    kind: Annotated[str, String(16)]
    subject_sha256: Sha256
    requested_by: Annotated[str, String(256)]
    counts: Mapping[str, int]
    erased_at: datetime


erasures: Final = table(
    "erasures",
    Receipt,
    CheckConstraint("kind IN ('post', 'author')", name="kind_is_known"),
    Index("ix_erasures_subject_sha256_kind", "subject_sha256", "kind"),
    NUMBERED,
)


class Lease:
    """What one of several processes holds for a while, such as the lead in housekeeping."""

    name: Annotated[str, String(64), PRIMARY]
    holder: Annotated[str, String(200)]
    expires_at: datetime


leases: Final = table("leases", Lease)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a target of notifications is told, or was."""

    id: Id
    kind: Annotated[str, String(16)]
    subject: Annotated[str, String(128)]
    target: int
    text: Annotated[str, Text]
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    sent_at: datetime | None
    gave_up_at: datetime | None
    ended_at: datetime | None


notices: Final = table(
    "notices",
    Notice,
    partial_index(
        "uq_notices_lasting", "kind", "subject", "target", unique=True, where="ended_at IS NULL"
    ),
    Index("ix_notices_kind_id", "kind", "id"),
    NUMBERED,
)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy that workers judged by, as its file was written."""

    version: Annotated[str, String(200), PRIMARY]
    text: Annotated[str, Text]
    first_seen_at: datetime
    last_started_at: datetime


policies: Final = table(
    "policies", StoredPolicy, Index("ix_policies_last_started_at", "last_started_at")
)


class Compatibility:
    """The one row that says which versions of Deadpan this database works with."""

    id: Annotated[int, PRIMARY, {"autoincrement": False}]
    oldest_revision: Annotated[str, String(32)]


compatibility: Final = table(
    "compatibility", Compatibility, CheckConstraint("id = 1", name="one_row")
)


class Tally:
    """How many rows were ever added, in several parts so that writers seldom wait for another."""

    name: Annotated[str, String(32), PRIMARY]
    part: Annotated[int, PRIMARY]
    value: Annotated[int, BigInteger]


tallies: Final = table("tallies", Tally)
