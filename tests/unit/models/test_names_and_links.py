"""Names and links: what is one, and that no word beside one is taken for a part of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.posts.normal_form.normalise import normalise_text
from tests.fuzz.targets import TARGETS

WORDS = [
    "今日は最悪",
    "싫어요",
    "أكرهك",
    "שונא",
    "เกลียด",
    "घृणा",
    "ненавижу",
    "αγάπη",
    "ատում",
    "მძულს",
]
BESIDE = [
    "@bob",
    "@bob@social.example",
    "https://x.example/a?b=1",
    "www.x.example/a",
    "#tag",
]
PIECES = [
    *"aA@<>&;:/ .,\\u0RT#-_'\"\t\n\u200d\u200b\ufe0f\u00ad\u0301",
    *(
        "𝗵",
        "ⓗ",
        "🅰",
        "🇺",
        "🇸",
        "а",
        "о",
        "н",
        "ｈ",
        "ﬁ",
        "ᴴ",
        "ʜ",
        "今",
        "가",
        "أ",
        "😂",
        "👩",
        "🏽",
    ),
    *(
        "http",
        "https://",
        "www.",
        ".example",
        "@bob",
        "@bob@x.example",
        "&amp;",
        "&lt;",
        "<p>",
        "</p>",
    ),
    *("<a href='x'>", "RT @a:", "<user>", "<num>", "\\u0040", "pic.twitter.com/", "рф", "h a t e"),
]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("@tanaka今日は最悪", "@user 今日は最悪"),
        ("今日@tanaka最悪", "今日@user 最悪"),
        ("@minho가 싫어", "@user 가 싫어"),
        ("@ahmadأنت سيء", "@user أنت سيء"),
        ("@田中今日は", "@田中今日は"),
        ("@иван привет", "@иван привет"),
        ("@josé hola", "@user hola"),
        ('(@bob) @bob\'s "@bob"', '(@user) @user\'s "@user"'),
        ("@bob@social.example I hate", "@user I hate"),
        ("@b.o-b@social.example, hi", "@user, hi"),
        ("@bob@社会", "@user@社会"),
        ("user@mail.example", "user@mail.example"),
        ("жук@mail.example", "жук@mail.example"),
        ("https://x.example/aは悪い", "http は悪い"),
        ("写真https://x.example/aは", "写真 http は"),
        ("https://x.example/a、次", "http、次"),
        ("lolhttps://x.example", "lol http"),
        ("https://ja.example/wiki/日本語", "http 日本語"),
        ("https://пример.рф/путь вот", "http путь вот"),
        ("https://例え.jp/a は", "http は"),
        ("https://xは.最悪だ", "http は.最悪だ"),
        ("https://münchen.example/x", "http"),
        ("see http://x.example/a. Bad!", "see http. Bad!"),
        ("(http://x.example/b_(c)) [https://x.example/]", "(http) [http]"),
        ("awww.horrible", "awww.horrible"),
        ("www.horrible", "www.horrible"),
        ("go www.x.example/y, now", "go http, now"),
        ("写真www.x.example", "写真 http"),
        ("x@www.x.example", "x@www.x.example"),
        ("pic.twitter.com/aBc1は", "http は"),
        ("http://t.co/… http: https:/", "http http http"),
        ("http:foo", "http:foo"),
        ("#今日 今日#ApplyNow", "#今日 今日#Apply Now"),
    ],
)
def test_names_and_links_have_boundaries_in_every_script(written: str, read: str) -> None:
    assert normalise_text(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<p>I hate<br />this</p><p>day</p>", "I hate this day"),
        ("one<div>two</div><ul><li>three</li></ul>", "one two three"),
        (
            '<a href="https://m.example/@bob" class="u-url mention">@<span>bob</span></a> hi',
            "@user hi",
        ),
        (
            '<a href="https://x.example/y" rel="nofollow noopener"><span class="invisible">https://'
            "</span><span>x.example/y</span></a>",
            "http",
        ),
        ('#<span>tag</span> <img src="a.png" alt="a sad dog">', "#tag a sad dog"),
        ("<script>alert(1)</script> <style>p {}</style>", "alert(1) p {}"),
        ("a < b and c > d", "a < b and c > d"),
        ("<3 <user> <hate> <p I hate you>", "<3 @user <hate> <p I hate you>"),
        ("<a x='I hate you'>", "<a x='I hate you'>"),
        ("fish &amp; chips &lt;3 caf&eacute; &#39;ok&#39; &nbsp;x", "fish & chips <3 café 'ok' x"),
        ("Q&A &notes; black&white &copyright", "Q&A &notes; black&white &copyright"),
    ],
)
def test_html_is_read_as_it_is_shown(written: str, read: str) -> None:
    assert normalise_text(written) == read


@given(st.lists(st.sampled_from(WORDS + BESIDE), max_size=8))
@settings(deadline=None)
def test_no_word_is_swallowed_by_what_stands_beside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    read = normalise_text(text)
    for word in pieces:
        if word in WORDS:
            assert read.count(word) == text.count(word), (text, read)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=60))
@settings(deadline=None, max_examples=300)
def test_no_letter_is_outside_both_the_words_and_a_name_or_link(text: str) -> None:
    TARGETS["words"](text.encode("utf-8", "surrogatepass"))
    once = normalise_text(text)
    assert normalise_text(once) == once
