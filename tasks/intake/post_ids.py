"""What may be a post id, and how one that may not is shown."""

from __future__ import annotations

MAX_ID_BYTES = 256


def id_problem(raw: bytes) -> str | None:
    """Why these bytes are no post id, or None when they are one."""
    if not raw:
        return "post id is empty; an id is 1 to 256 bytes of UTF-8"
    if len(raw) > MAX_ID_BYTES:
        return f"post id is {len(raw)} bytes long; the limit is {MAX_ID_BYTES}"
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"post id {printable(raw)} is not UTF-8 at byte {error.start}; push ids as UTF-8"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return f"post id {printable(raw)} contains a control character; push ids without any"
    return None


def printable(raw: bytes) -> str:
    """Bytes fit to be shown and stored: at most 256 of them, anything odd escaped."""
    shown = raw[:MAX_ID_BYTES].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
    return shown if len(raw) <= MAX_ID_BYTES else f"{shown}… ({len(raw)} bytes)"
