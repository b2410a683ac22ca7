"""The id that a post keeps from push to callback, in the form of W3C Trace Context.

https://www.w3.org/TR/trace-context/: `traceparent` is `00-TRACE_ID-PARENT_ID-FLAGS`, lower-case
hexadecimal. This needs no OpenTelemetry; `deadpan.core.spans` does.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LOOKS_LIKE: Final = re.compile(rb"(?i)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
MAX_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Which trace something belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits, not all zero.
        parent_id: 16 hexadecimal digits that name a span, or none where there is no span.
        flags: as in `traceparent`; 1 says that its writer may have recorded its part.
    """

    trace_id: str
    parent_id: str = ""
    flags: int = 0

    @property
    def traceparent(self) -> str:
        """To pass on. Without a span, part of the trace id stands for one, so that it is the same
        on every try."""
        parent_id = self.parent_id or self.trace_id[16:]
        if not parent_id.strip("0"):
            parent_id = f"{1:016x}"
        return f"00-{self.trace_id}-{parent_id}-{self.flags:02x}"


def parse(traceparent: bytes | str | None) -> TraceContext | None:
    """Parse a `traceparent`; None if it is invalid or says that there is no trace.

    A version after 00 is read as far as 00 goes, as the standard requires.
    """
    if not traceparent:
        return None
    raw = traceparent.encode("ascii", "replace") if isinstance(traceparent, str) else traceparent
    found = _FORM.fullmatch(raw) if len(raw) <= MAX_BYTES else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more):
        return None
    if not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    return TraceContext(trace_id.decode(), parent_id.decode(), int(flags, 16))


def looks_like_one(raw: bytes) -> bool:
    """Whether bytes have the form of a `traceparent`, even an empty one."""
    return len(raw) <= MAX_BYTES and _LOOKS_LIKE.fullmatch(raw) is not None


def new() -> TraceContext:
    """A new trace, with nothing recorded yet."""
    return TraceContext(secrets.token_hex(16))
