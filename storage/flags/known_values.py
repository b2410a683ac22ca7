"""What flags have, for those who choose: rules and languages, from indexes and without a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from storage import tables

#: At most so many of each are found; other values have to be typed.
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class KnownValues:
    """The names of rules that fired for flags, and the languages of flags, `und` too."""

    rules: tuple[str, ...]
    languages: tuple[str, ...]


def read(connection: Connection) -> KnownValues:
    """Returns what flags have now."""
    flags, rules = tables.flags.c, tables.flag_rules.c
    languages: set[str] = set()
    for state in tables.FLAG_STATES:
        languages.update(_each(connection, flags.language, flags.state == state))
    return KnownValues(tuple(_each(connection, rules.rule)), tuple(sorted(languages)))


def _each(connection: Connection, column: Any, *conditions: Any) -> list[str]:
    """The values of a column that an index begins with, each found by one look into it: a
    `SELECT DISTINCT` reads all of it, which is a million entries for ten values."""
    found: list[str] = []
    while len(found) < _MOST:
        after = [column > found[-1]] if found else []
        value = connection.execute(select(func.min(column)).where(*conditions, *after)).scalar()
        if value is None:
            break
        found.append(value)
    return found
