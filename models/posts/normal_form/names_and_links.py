"""Names and links in a text, in every script. Needs no torch.

What is taken for one is replaced, so the words around it must not be: a name ends where its letters
are no longer Latin (`@tanaka今日は`), and a link at the first character that no address has as it
stands (`https://x.example/aは`). What might be either is left to be read as words.
"""

from __future__ import annotations

import re

from models.posts.normal_form.edits import Edit

NAME = "@user"
LINK = "http"

_LATIN = "A-Za-z0-9_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_NAME = re.compile(
    r"<user>"
    # @name@host, as the fediverse writes it
    rf"|(?<![{_LATIN}])@[{_LATIN}](?:[{_LATIN}.\-]*[{_LATIN}])?"
    r"@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}(?![A-Za-z0-9])"
    rf"|(?<![{_LATIN}])@[{_LATIN}]+",
    re.IGNORECASE,
)
_MAIL_HOST = re.compile(r"@[A-Za-z0-9\-]+\.[A-Za-z]")

# RFC 3986; an address that a browser shows with other letters has them as %-escapes in what is sent
_CHARACTERS = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]"
# Top-level domains that are not ASCII: a closed list, for any word may stand behind a full stop.
_ABROAD = (
    "рф|рус|онлайн|сайт|орг|дети|москва|бел|укр|срб|мкд|бг|ею|мон|қаз|հայ|გე|ελ|ευ|ישראל|中国|中國|香港|"
    "台湾|台灣|新加坡|澳門|网络|公司|网址|商城|みんな|コム|한국|भारत|ভারত|ไทย|امارات|السعودية|ایران|مصر|عمان|"
    "الاردن|قطر|تونس|المغرب|الجزائر|فلسطين|پاکستان"
)
_TOP = rf"(?:[A-Za-z]{{2,}}|{_ABROAD})(?!\w)"
_LINK = re.compile(
    rf"https?://(?=[A-Za-z0-9.\-]*[^\x00-\x7f])(?:[^\W_][\w\-]*\.)+{_TOP}(?:[:/?#]{_CHARACTERS}*)?"
    rf"|https?://{_CHARACTERS}*"
    # cut off, as old tweets end
    r"|https?:/?(?![\w/])"
    rf"|(?<![{_LATIN}.@/\-])www\.(?:[A-Za-z0-9\-]+\.)+{_TOP}(?:[:/?#]{_CHARACTERS}*)?"
    rf"|(?<![{_LATIN}.@/\-])pic\.twitter\.com/[A-Za-z0-9]*",
    re.IGNORECASE,
)
_SIGNS = ("http:", "https:", "www.", "pic.twitter.com/")
_AROUND = ".,!?;:'\"*_~"
_BRACKETS = {")": "(", "]": "["}

_HASHTAG = re.compile(r"(?<![A-Za-z0-9_&])#\w+")
# "ApplyNow", "TeamUSA", "NBCNews", "ILoveIt"; but "iPhone" is one word
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def links(text: str) -> list[Edit]:
    """Each becomes `LINK`; marks at its end are not part of it."""
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):  # the search takes ten times as long
        return []
    found = []
    for match in _LINK.finditer(text):
        start, end = match.span()
        end = start + len(_without_marks(match[0]))
        end += text.startswith("…", end)  # cut off by whoever shortened the text
        found.append((start, end, _apart(text, start, end, LINK)))
    return found


def _without_marks(link: str) -> str:
    least = link.find(":") + 1
    while len(link) > least:
        last = link[-1]
        if last in _AROUND or (
            last in _BRACKETS and link.count(last) > link.count(_BRACKETS[last])
        ):
            link = link[:-1]
        else:
            break
    return link


def names(text: str) -> list[Edit]:
    """Each becomes `NAME`; an address of e-mail stays."""
    if "@" not in text and "<" not in text:
        return []
    found = []
    for match in _NAME.finditer(text):
        start, end = match.span()
        before = text[start - 1 : start]
        if before.isalnum() and _MAIL_HOST.match(text, start):
            continue
        if (new := _apart(text, start, end, NAME)) != match[0]:
            found.append((start, end, new))
    return found


def hashtags(text: str) -> list[Edit]:
    """Words of a hashtag in CamelCase are parted; the sign stays."""
    if "#" not in text:
        return []
    return [
        (at, at, " ")
        for tag in _HASHTAG.finditer(text)
        for gap in _CAMEL.finditer(tag[0])
        if (at := tag.start() + gap.start())
    ]


def _apart(text: str, start: int, end: int, sign: str) -> str:
    """The sign, with a space to a letter beside it, which would become part of the sign's word."""
    before = " " if sign[0].isalnum() and text[start - 1 : start].isalnum() else ""
    after = " " if text[end : end + 1].isalnum() else ""
    return f"{before}{sign}{after}"
