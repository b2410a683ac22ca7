"""Time promises of a policy: within which time a human decides what a rule or a queue flags.

They judge nothing, so they are no part of the policy's version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_FORM: Final = re.compile(r"([1-9][0-9]{0,5}) ?([mhd])", re.ASCII)
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
_LONGEST_DAYS: Final = 365
FIELD: Final = "decide_within"


def seconds_of(given: Any) -> int:
    """Read a promise such as `4h`: whole seconds.

    Raises:
        ValueError: it is none.
    """
    match = _FORM.fullmatch(given) if isinstance(given, str) else None
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_DAYS * 86_400:
        raise ValueError(
            "write a whole number with m, h or d, such as '30m', '4h' or '2d', at most "
            f"'{_LONGEST_DAYS}d'"
        )
    return seconds


def parse_queues(
    given: Any, queues: frozenset[str], *, shown: str
) -> tuple[Mapping[str, int], list[str]]:
    """Check the tables `[queues.NAME]`: gives seconds by queue, and what is wrong.

    Args:
        queues: that rules flag into.
    """
    if not isinstance(given, dict):
        return {}, [f"{shown}: write queues as tables such as [queues.negative]"]
    promises, problems = {}, []
    for queue, fields in given.items():
        place = f"{shown}: queue {queue[:80]!r}"
        if queue not in queues:
            known = ", ".join(sorted(queues)) or "none"
            problems.append(f"{place} is of no rule; queues of this policy are {known}")
        if not isinstance(fields, dict) or not fields:
            problems.append(f"{place}: write it as a table [queues.{queue[:80]}] with {FIELD}")
            continue
        problems += [
            f"{place}: unknown field {key!r}; known is {FIELD}"
            for key in sorted(fields.keys() - {FIELD})
        ]
        if FIELD in fields:
            try:
                promises[queue] = seconds_of(fields[FIELD])
            except ValueError as error:
                problems.append(f"{place}: {FIELD} is {fields[FIELD]!r}; {error}")
    return promises, problems
