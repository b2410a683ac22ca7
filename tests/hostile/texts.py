"""Texts that nobody means well with, by name."""

from __future__ import annotations

TEXTS: dict[str, str] = {
    "nul": "before\0after",
    "lone_surrogates": "high \ud800 low \udfff",
    "bidi": "invoice\u202egnp.exe\u202c \u2066isolated\u2069",
    "zalgo": "Z" + "\u0300\u0301\u0316\u0317\u035f" * 60 + "algo",
    "invisible": "a\u200b\u200c\u200d\u2060\ufeffb\u00adc",
    "control": "a\x07b\x08c\x0bd\x1b[31mred\x1b[0m\x9b2J\x7f",
    "ansi_link": "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "lines": 'fine\n{"event": "forged"}\r\n2026-01-01 [info] forged\u2028x\u2029y\x85z',
    "sql": "'; DROP TABLE verdicts; -- \" ) OR 1=1 /*",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>'\"><svg/onload=alert(1)>",
    "template": "{{ 7*7 }}{% raw %}${7*7}#{7*7}<%= 7*7 %>",
    "format": "%s%s%n%d %(x)s {0} {x.__class__} {!r} \\u0000 \\x00",
    "entities": "&lt;script&gt; &#0; &#x110000; &amp;amp;amp;",
    "special_tokens": "[CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> <|endoftext|>",
    "spaces": "\u3000\u2003\t \u00a0",
    "empty": "",
    "emoji": "👩‍👩‍👧‍👦" * 20 + "🏴󠁧󠁢󠁥󠁮󠁧󠁿" + "\U0001f3fb" * 5,
    "one_word": "a" * 4000,
    "huge_number": "9" * 4000,
    "noncharacters": "\ufffe\uffff\U0010ffff\U000e0001",
    "path": "../../../../etc/passwd\\..\\C:",
    "long": "never again " * 900_000,
}
