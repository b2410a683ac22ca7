"""Writes the seeds of the corpus: `python -m tests.fuzz.seeds`. Findings are kept beside them.

Seeds are called `seed-NAME`; whatever else is in `corpus/` was found by a fuzzer and stays.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.hostile import pictures
from tests.hostile.texts import TEXTS

CORPUS = Path(__file__).parent / "corpus"

URLS = [
    "http://img.example.com/a.png",
    "https://xn--bcher-kva.example/ü?q=1#f",
    "http://user:pass@127.0.0.1@evil.example/",
    "http://127.0.0.1\\@evil.example/",
    "http://evil.example#@127.0.0.1/",
    "http://[::ffff:127.0.0.1]:80/",
    "http://[fe80::1%25eth0]/",
    "http://0x7f.1/",
    "http://2130706433/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://a.example:99999/",
    "http:///path",
    "http://a.example/%2e%2e/..;/a b\r\nHost: b",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:image/png;base64,iVBORw0KGgo=",
    "//a.example/x",
    "",
]
WORDS = [
    "@tanaka今日は最悪 写真https://x.example/aは悪い @minho가 싫어 @ahmadأنت سيء",
    "awww.horrible www.x.example/y https://пример.рф/путь http:// pic.twitter.com/a",
    "@bob@social.example RT @a: RT me@mail.example жук@mail.example <user> <num>",
    "<p>a<br />b</p><a href='https://x' class=\"mention\">@<b>c</b></a> d < e <3",
    "&lt;p&gt; &notes; Q&A &#x41; \\u0041\\ud83d\\ude00 #ApplyNow 今日#ILoveIt",
    "𝗛𝗮𝘁𝗲 ⓗⓐⓣⓔ 🅷🅰🆃🅴 🇭🇦🇹🇪 🇺🇸 ｆｕｌｌ ﬁne ᴴᵃᵗᵉ ʜᴀᴛᴇ hаte привет I уоu ㎏ ①",
    "h\u200ba\u00adt\u2060e 👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3",
    "می\u200cخواهم क्\u200dष \U0001f3f4\U000e0067\U000e007f",
    "Z\u0334\u0322a\u0338l\u0337g\u0337o\u0336 h\u20e3 h a t e  y o u h.a.t.e soooooo \u3164\u2800",
]
ADDRESSES = ["127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fe80::1%1"]
ANSWERS = {
    "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunk-minus": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhi\r\n0\r\n\r\n",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(9000)),
    "deflate": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, deflate\r\n\r\nx",
    "later": b"HTTP/1.1 429 No\r\nRetry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
    "none": b"HTTP/0.9\r\n\r\n",
    "early": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
}


def seeds() -> dict[str, dict[str, bytes]]:
    """Of each target, seeds by name."""
    images = pictures.good()
    for large in ("png_icc_bomb", "png_ztxt_bomb", "png_itxt_bomb", "jpeg_grey_exif"):
        del images[large]
    images |= {
        "jpeg_scans": pictures.jpeg_of_scans(16, 16, 5),
        "jpeg_exif": pictures.jpeg_with(
            pictures.segment(0xE1, b"Exif\0\0" + pictures.exif_that_repeats_itself(5, 40))
        ),
        "gif_frames": pictures.gif_of_frames(3),
        "webp_frames": pictures.webp_of_frames(3),
        "png_16_bits": pictures.png(8, 8, depth=16, colour=6),
        "png_1_bit": pictures.png(9, 8, depth=1, colour=0),
        "pdf_in_jpeg": b"\xff\xd8\xff%PDF-1.7\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    posts = {
        name: json.dumps(
            {"posts": [{"id": "1", "text": text, "images": [text], "author": text}]}
        ).encode()
        for name, text in TEXTS.items()
        if len(text) < 2000
    }
    posts |= {
        "mapped": b'[{"id": 1, "body": ["x"], "media": [{"url": "a"}, {}], "by": {"name": 3}}]',
        "deep": b'{"posts": ' + b"[" * 500 + b"]" * 500 + b"}",
        "numbers": b'{"posts": [{"id": 1e400, "text": null, "created_at": -0}, {"id": %s}]}'
        % (b"9" * 500),
        "time": b'{"id": "1", "text": "", "created_at": "9999-12-31T23:59:59-23:59"}',
        "surrogate": b'{"id": "\\ud800", "text": "\\udfff\\u0000"}',
        "twice": b'{"id": "1", "id": "2", "text": "a", "text": "b"}',
        "nan": b'{"posts": [{"id": NaN, "text": Infinity}]}',
    }
    lines = {
        "good": b'{"id": "1", "text": "x", "images": ["posts.jsonl", "../../etc/passwd"]}\n',
        "away": b'{"id": "1", "text": "x", "images": ["/etc/hostname", "http://127.0.0.1/x"]}\n',
        "odd": b'{"id": "1", "text": ""}\r\n\n\xff\xfe\n{"id": 1}\n[]\n{"id": "2", "text": 3}',
        "nul": b'{"id": "1", "text": "x", "images": ["a\\u0000b", "posts.jsonl/x"]}',
    }
    return {
        "picture": images,
        "posts": posts,
        "file": lines,
        "url": {str(n): b"\0" + u.encode("latin-1", "ignore") for n, u in enumerate(URLS)}
        | {f"{n}u": b"\x80" + u.encode() for n, u in enumerate(URLS) if not u.isascii()},
        "address": {str(n): a.encode() for n, a in enumerate(ADDRESSES)},
        "answer": ANSWERS,
        "words": {str(n): text.encode("utf-8", "surrogatepass") for n, text in enumerate(WORDS)},
        "text": {
            name: text.encode("utf-8", "surrogatepass")
            for name, text in TEXTS.items()
            if len(text) < 5000
        },
    }


def write() -> None:
    """Write all seeds, and remove those that are no seeds any more."""
    for target, files in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for name, content in files.items():
            (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    write()
