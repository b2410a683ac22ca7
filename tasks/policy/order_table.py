"""What a policy says of the learned order: the table `[order]` in its file."""

from __future__ import annotations

from typing import Any, Final

from deadpan.core.errors import PolicyError
from tasks.policy.reason_codes import SHIPPED, read_policy

_FIELD: Final = "author_record"


def reads_author_records(path: str = "") -> bool:
    """Whether a policy lets the learned order look at what was decided of an author's other posts.

    Raises PolicyError with everything that is wrong with the table.
    """
    allowed, problems = parse_order(read_policy(path).get("order", {}), shown=path or SHIPPED)
    if problems:
        raise PolicyError(problems)
    return allowed


def parse_order(given: Any, *, shown: str) -> tuple[bool, list[str]]:
    """Check `[order]`: gives whether authors' records count, and what is wrong with it."""
    if not isinstance(given, dict):
        return False, [f"{shown}: write order as a table [order] with the line {_FIELD} = true"]
    problems = [
        f"{shown}: unknown field {key!r} in [order]; known is {_FIELD}"
        for key in sorted(given.keys() - {_FIELD})
    ]
    allowed = given.get(_FIELD, False)
    if not isinstance(allowed, bool):
        problems.append(f"{shown}: {_FIELD} is {str(allowed)[:80]!r}; write true or false")
        allowed = False
    return allowed, problems
