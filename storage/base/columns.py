"""What every table is made of: its root, and columns that hold on SQLite and PostgreSQL alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: takes aware datetimes only, stores UTC, gives aware UTC datetimes.

    SQLite has no type for moments and would keep the clock's reading without its zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value.isoformat()} has no time zone; give an aware datetime")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


#: SQLite numbers rows by itself only in a column of exactly the type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
#: none_as_null, so that "no picture" is NULL in SQL and not the JSON word null.
JsonValue = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# An id once given out (in a callback, in an address) is never given to another row.
NUMBERED: Final = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """Root of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
