"""The one place where text from outside is made safe for both databases.

PostgreSQL stores neither NUL characters nor lone surrogates; SQLite stores both and then cuts at
the first. They are escaped and not dropped, so that the reader of an error sees what was there.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

#: JSON as the tables hold it.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MAX_POST_ID_BYTES = 256
UNKNOWN_LANGUAGE = "und"
MAX_SEARCH_CHARACTERS = 1000
MAX_RULE_CHARACTERS = 100
MAX_ERROR_CHARACTERS = 4000
MAX_JSON_STRING_CHARACTERS = 2000

#: Of a dead letter's post id, which may be anything. An index entry of PostgreSQL holds at most
#: 2704 bytes, which 1024 characters of four bytes each would exceed.
MAX_PRINTED_POST_ID_CHARACTERS = 1024
MAX_PRINTED_POST_ID_BYTES = 2048


def clean_text(text: str, limit: int) -> str:
    r"""Makes any text safe for both databases: a NUL becomes ``\x00``, a lone surrogate ``\udc80``,
    visibly, and a text of more than `limit` characters is cut, which its end says.
    """
    if len(text) <= limit and text.isascii() and "\x00" not in text:
        return text  # nearly all of them, and each verdict holds dozens
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
    if len(clean) <= limit:
        return clean
    mark = f"… [cut, {len(clean)} characters in all]"
    return clean[: max(0, limit - len(mark))] + mark[:limit]


def search_form(text: str) -> str:
    """Returns the form in which texts are searched, the same on both databases: case-folded, NFKC,
    without invisible characters, white space collapsed, cut at 1,000 characters.
    """
    # Cut before and after: a letter may become up to 18 others.
    clean = clean_text(text[:MAX_SEARCH_CHARACTERS], 2 * MAX_SEARCH_CHARACTERS)
    plain = "".join(
        each for each in unicodedata.normalize("NFKC", clean) if unicodedata.category(each) != "Cf"
    )
    return " ".join(plain.casefold().split())[:MAX_SEARCH_CHARACTERS]


def primary_language(tag: str | None) -> str:
    """Returns the language of a tag such as `pt-BR` or `zh_Hant` (BCP 47) as `pt` or `zh`; `und`
    (undetermined) if it names none.
    """
    found = re.match(r"([A-Za-z]{2,3})(?![^_-])", (tag or "").strip())
    return found[1].lower() if found else UNKNOWN_LANGUAGE


def clean_json(value: object) -> Json:
    """Makes a JSON value safe for both databases: strings as in `clean_text`, numbers (NumPy's too)
    as plain Python numbers, or null if not finite. TypeError if it is not JSON.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value, MAX_JSON_STRING_CHARACTERS)
    # What verdicts are made of comes first: asking an abstract class costs many times as much.
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict | Mapping):
        return {
            clean_text(str(key), MAX_JSON_STRING_CHARACTERS): clean_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [clean_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


def printed_post_id(post_id: str) -> str:
    """Returns the printable, bounded form under which a dead letter names its post: a valid id as
    it is; one that is too long cut, with a digest, so that two of them stay two dead letters.
    """
    clean = post_id.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
    encoded = clean.encode("utf-8")
    if len(clean) <= MAX_PRINTED_POST_ID_CHARACTERS and len(encoded) <= MAX_PRINTED_POST_ID_BYTES:
        return clean
    mark = f"… [cut, {len(encoded)} bytes, SHA-256 {hashlib.sha256(encoded).hexdigest()}]"
    kept = encoded[: MAX_PRINTED_POST_ID_CHARACTERS - len(mark)].decode("utf-8", "ignore")
    return kept + mark


def post_id_problem(post_id: str) -> str | None:
    """Says why a string cannot be the id of a judged post, or None if it can."""
    if not post_id:
        return "the post id is empty"
    try:
        size = len(post_id.encode("utf-8"))
    except UnicodeEncodeError:
        return f"post id {printed_post_id(post_id)!r} is not valid UTF-8"
    if size > MAX_POST_ID_BYTES:
        return (
            f"post id {clean_text(post_id, 60)!r} has {size} bytes; "
            f"the limit is {MAX_POST_ID_BYTES}"
        )
    if "\x00" in post_id:
        return f"post id {printed_post_id(post_id)!r} contains a NUL character"
    return None


def check_traceparent(value: str | None) -> None:
    """Raise ValueError unless it is None or looks like a `traceparent` of W3C Trace Context."""
    form = r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
    if value is not None and re.fullmatch(form, value) is None:
        raise ValueError(
            f"traceparent is {clean_text(value, 80)!r}; it must look like "
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        )
