"""Which language a post is in."""

from __future__ import annotations

import pytest

from models.posts.language import detect, stated

SAID = {
    "ar": "صباح الخير يا أصدقاء، كيف حالكم اليوم",
    "de": "Ich habe heute leider gar keine Lust auf die Arbeit",
    "en": "I have been waiting for this bus for an hour",
    "es": "No puedo creer que mañana ya sea lunes otra vez",
    "fr": "Je ne comprends pas pourquoi il fait encore froid",
    "it": "Non vedo l'ora di tornare a casa stasera",
    "ja": "今日はとても寒いですね",
    "no": "Jeg gleder meg veldig til å dra på hytta i helgen",
    "pt": "Eu não acredito que você esqueceu o meu aniversário",
    "ru": "Сегодня опять идёт дождь, а я без зонта",
    "tr": "Bugün hava çok güzel, hadi dışarı çıkalım",
    "zh": "今天天气很好，我们出去走走吧",
}


@pytest.mark.parametrize(("language", "text"), SAID.items())
def test_the_words_tell_their_language(language: str, text: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize(
    "text",
    ["", " ", "😭😭 🔥", "@someone @somebody", "https://example.org/a/long/way", "12:30 !?", "#1"],
)
def test_what_holds_no_words_has_no_language(text: str) -> None:
    assert detect(text) is None


def test_a_word_that_many_languages_have_tells_none() -> None:
    assert detect("ok") is None


def test_names_links_and_capitals_change_nothing() -> None:
    text = SAID["de"]
    assert (
        detect(f"@the_best_friend {text.upper()} https://www.this-is-english.example/words") == "de"
    )


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    text = f"{SAID['fr']}. " * 30
    assert detect(text + SAID["ru"] * 100_000) == detect(text) == "fr"


def test_lone_surrogates_and_nul_do_no_harm() -> None:
    assert detect(f"\ud800{SAID['es']}\0") == "es"


@pytest.mark.parametrize(
    ("tag", "language"),
    [("de", "de"), ("nb", "no"), ("iw", "he"), ("arz", "ar"), ("gsw", "gsw")]
    + [(tag, None) for tag in (None, "und", "zxx", "qme", "mul")],
)
def test_a_platform_may_name_a_language_in_several_ways(
    tag: str | None, language: str | None
) -> None:
    assert stated(tag) == language
