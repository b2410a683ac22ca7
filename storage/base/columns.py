"""How a class becomes a table, with columns that hold on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.base.text import clean_json, clean_text


class UtcDateTime(TypeDecorator[datetime]):
    """Takes aware datetimes only, stores UTC, and returns aware UTC datetimes.

    SQLite has no type for moments and would drop the time zone.
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


#: SQLite only assigns ids by itself to a column of exactly the type INTEGER.
_ID = BigInteger().with_variant(Integer(), "sqlite")
#: none_as_null, so that "no picture" is NULL in SQL and not the JSON word null.
JsonValue = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# An id once given out (in a callback, in an address) is never given to another row.
NUMBERED: Final = {"sqlite_autoincrement": True}

#: Annotations of `table`: a row's own id, a row number that refers to nothing, part of a key.
PRIMARY: Final = {"primary_key": True}
UNIQUE: Final = {"unique": True}
RowId = Annotated[int, _ID]
Id = Annotated[int, _ID, PRIMARY]

_TYPES: Final[dict[object, Any]] = {
    bool: Boolean,
    int: Integer,
    float: Double,
    datetime: UtcDateTime,
}

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def table(name: str, row: type, *more: Any) -> Table:
    """Makes a table with a column for each field that a class annotates.

    The field's type says the column's; `| None` makes it nullable. `Annotated` adds an SQL type
    (`String(64)`: every `str` needs one), the column a foreign key refers to (`"flags.id"`), or
    other arguments of `Column` as a mapping.

    Args:
        more: columns that the class leaves out, constraints, indexes, options.
    """
    fields = get_type_hints(row, include_extras=True)
    columns = [_column(field, *_taken_apart(hint)) for field, hint in fields.items()]
    options = {key: value for each in more if isinstance(each, dict) for key, value in each.items()}
    items = [each for each in more if not isinstance(each, dict)]
    return Table(name, metadata, *columns, *items, **options)


def stored(of: Table, row: object) -> dict[str, Any]:
    """Gives what an object says of a table's columns, in a form that both databases take: strings
    cut to the column's length, JSON and numbers as plain Python values.

    Raises:
        TypeError: what should be JSON is not.
    """
    return {
        column.name: _fit(column.type, getattr(row, column.name))
        for column in of.columns
        if hasattr(row, column.name)
    }


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of those rows alone for which a condition holds."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _fit(kind: Any, value: Any) -> Any:
    if isinstance(kind, JSON):
        return clean_json(value)
    if value is None or isinstance(kind, Text):
        return value
    if isinstance(kind, String):
        return clean_text(value, kind.length or 0)
    return float(value) if isinstance(kind, Double) else value


def _column(name: str, types: list[object], extras: list[Any]) -> Column[Any]:
    options: dict[str, Any] = {"nullable": NoneType in types}
    kind: Any = next((_TYPES[each] for each in types if each in _TYPES), JsonValue)
    refers_to: list[ForeignKey] = []
    for extra in extras:
        if isinstance(extra, Mapping):
            options.update(extra)
        elif isinstance(extra, str):
            refers_to.append(ForeignKey(extra))
        else:
            kind = extra
    return Column(name, kind, *refers_to, **options)


def _taken_apart(hint: Any) -> tuple[list[object], list[Any]]:
    """The types that an annotation allows, and what `Annotated` says besides."""
    if get_origin(hint) is Annotated:
        types, extras = _taken_apart(hint.__origin__)
        return types, [*extras, *hint.__metadata__]
    if get_origin(hint) in (Union, UnionType):
        parts = [_taken_apart(each) for each in get_args(hint)]
        return [t for types, _ in parts for t in types], [e for _, more in parts for e in more]
    return [hint], []
