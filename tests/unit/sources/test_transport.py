"""What is sent where, before any connection is made."""

from __future__ import annotations

import pytest

from sources.net import transport
from sources.net.transport import canonical

URLS = [
    "http://cdn.example.org/a/b.jpg",
    "https://cdn.example.org:8443/a_b/~c-d.webp?size=large&v=1.2",
    "http://127.0.0.1:9/images/1",
    "http://a.example/x//y/",
    "http://a.example/..b/...",
    "http://a.example/a/../b",
    "http://a.example/./a",
    "http://a.example/a/.",
    "http://a.example",
    "http://a.example/?",
    "http://a.example:80/x",
    "http://a.example:99999/x",
    "http://a.example:0/x",
    "http://A.Example/X",
    "http://a..example/x",
    "http://.a.example/x",
    "http://a.example./x",
    "http://xn--bcher-kva.example/x",
    "http://bücher.example/ü",
    "http://a.example/%7Euser/%2e%2e/x",
    "http://a.example/a b",
    "http://a.example/x#fragment",
    "http://user@a.example/x",
    "http://[::1]/x",
    "http://a.example\\@b.example/x",
    "http://a.example/x\n",
    "ftp://a.example/x",
]


@pytest.mark.parametrize("url", URLS)
def test_the_short_way_for_plain_urls_gives_what_the_long_one_gives(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> str:
        try:
            return canonical(url)
        except ValueError:
            return "refused"

    short = told()
    monkeypatch.setattr(transport, "_PLAIN_URL", transport.re.compile(r"(?!)"))
    assert short == told()


def test_most_image_urls_take_the_short_way() -> None:
    assert all(transport._PLAIN_URL.fullmatch(url) for url in URLS[:4])
