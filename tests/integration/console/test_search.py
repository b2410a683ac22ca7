"""Flags are found by their words and by their rules, on both databases alike."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import Engine, select

from storage import tables
from storage.base.database import transaction
from storage.base.text import MAX_SEARCH_CHARACTERS, primary_language, search_form
from storage.flags import decisions, worklist
from storage.flags.decisions import Said
from storage.flags.worklist import Filter
from storage.migrations import schema
from tests import postgres
from tests.console_data import flag, moderator, reason
from tests.console_server import ConsoleServer

database_url = postgres.database_url


def found(database: Engine, text: str, **more: object) -> list[str]:
    with transaction(database, read_only=True) as connection:
        wanted = Filter(words=text, **more)  # type: ignore[arg-type]
        return [each.post_id for each in worklist.page(connection, wanted, limit=50)]


def test_words_are_found_whatever_their_case_and_form(database: Engine) -> None:
    flag(database, "1", text="Der STRAßE entlang, 100% sicher\n#LovingIt", priority=9)
    flag(database, "2", text="die Strasse_und ｆｕｌｌ width, hid\u200bden ÉTÉ 😂", priority=5)
    flag(database, "3", text="\x00 lone \ud800 surrogate " + "x" * 5000, priority=3)
    flag(database, "4", priority=1)
    assert found(database, "strasse") == ["1", "2"]
    assert found(database, "SICHER entl") == ["1"]
    assert found(database, "100%") == ["1"]
    assert found(database, "e_u") == ["2"]
    assert found(database, "full hidden été 😂") == ["2"]
    assert found(database, "lone surrogate") == ["3"]
    assert found(database, "nowhere") == []
    assert found(database, "strasse", queue="none") == []


def test_a_text_is_searched_in_a_form_that_is_bounded() -> None:
    assert search_form("  A\t\nB\u202e ") == "a b"
    assert len(search_form("ﷺ" * 9000)) == MAX_SEARCH_CHARACTERS
    assert search_form("\u200b") == ""


def test_flags_are_found_by_language(database: Engine) -> None:
    for post_id, language in (("1", "de-AT"), ("2", "DE"), ("3", "pt_BR"), ("4", None), ("5", "x")):
        flag(database, post_id, language=language, priority=9 - int(post_id), text="words")
    with transaction(database, read_only=True) as connection:
        for language, posts in (("de", "12"), ("PT", "3"), ("und", "45"), ("fr", "")):
            for words in (None, "wor"):
                wanted = Filter(language=language, words=words)
                page = worklist.page(connection, wanted, limit=9)
                assert "".join(each.post_id for each in page) == posts
        assert worklist.page(connection, Filter(post_id="3"), limit=1)[0].language == "pt"
    flag(database, "1", content="b", language="en")
    with transaction(database, read_only=True) as connection:
        assert [f.post_id for f in worklist.page(connection, Filter(language="en"), limit=9)] == [
            "1"
        ]


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("de", "de"),
        (" pt-BR", "pt"),
        ("zh_Hant", "zh"),
        ("GSW", "gsw"),
        ("english", "und"),
        ("d", "und"),
        ("de BR", "und"),
        ("дe", "und"),
        ("", "und"),
        (None, "und"),
    ],
)
def test_of_a_language_tag_the_first_part_counts(tag: str | None, language: str) -> None:
    assert primary_language(tag) == language


def test_a_flag_is_found_by_what_its_post_says_now(database: Engine) -> None:
    flag(database, "1", content="a", text="before", reasons=[reason("old", "sarcasm", 0.5, 0.6)])
    flag(database, "1", content="b", text="after", reasons=[reason("new", "sarcasm", 0.5, 0.6)])
    assert (found(database, "before"), found(database, "after")) == ([], ["1"])
    with transaction(database, read_only=True) as connection:
        assert worklist.page(connection, Filter(rule="old"), limit=9) == []
        (one,) = worklist.page(connection, Filter(rule="new"), limit=9)
        assert one.post_id == "1"


def test_a_search_looks_at_so_many_flags_and_goes_on_where_it_stopped(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "SEARCHED_AT_ONCE", 4)
    for number in range(23):
        word = "needle" if number % 5 == 0 else "hay"
        flag(database, f"{number:02}", text=f"some {word}", priority=30 - number % 3)
    with transaction(database) as connection:
        lead = moderator(connection, "lea", "lead")
        for number in (5, 6, 10):
            one = worklist.page(connection, Filter(post_id=f"{number:02}"), limit=1)[0]
            decisions.decide(connection, one.id, lead, Said("escalate", "other"))
    wanted = Filter(words="needle", states=("open", "escalated"))
    seen: list[worklist.Flag] = []
    after, rounds = None, 0
    with transaction(database, read_only=True) as connection:
        while True:
            found = worklist.search(connection, wanted, limit=2, after=after)
            seen += found.flags
            rounds += 1
            if len(found.flags) == 2:
                assert found.stopped_at is None
                after = found.flags[-1].position
            elif found.stopped_at is not None:
                after = found.stopped_at
            else:
                break
    assert sorted(each.post_id for each in seen) == ["00", "05", "10", "15", "20"]
    order = [(-each.priority, each.opened_at, each.id) for each in seen]
    assert order == sorted(order)
    assert rounds > 3


@pytest.mark.parametrize("few", [0, 500])
def test_rules_that_many_and_that_few_flags_have_are_found(
    database: Engine, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "_FEW", few)
    both = [reason("rare", "sarcasm", 0.5, 0.6), reason("all", "sarcasm", 0.5, 0.6)]
    for number in range(6):
        flag(database, str(number), reasons=both if number == 4 else both[1:], priority=9 - number)
    with transaction(database, read_only=True) as connection:
        for rule, posts in (("rare", "4"), ("all", "012345"), ("none", ""), ("x" * 300, "")):
            page = worklist.page(connection, Filter(rule=rule), limit=9)
            assert "".join(each.post_id for each in page) == posts


def test_the_migration_fills_in_the_rules_of_flags_that_are_there(database: Engine) -> None:
    flag(database, "1", reasons=[reason("b", "sarcasm", 0.5, 0.6), reason("a", "sarcasm", 0, 1)])
    flag(database, "2", reasons=[{"rule": "a"}, {"rule": "a", "queue": "twice"}, {"odd": 1}])
    rules = select(tables.flag_rules.c.rule, tables.flag_rules.c.flag_id).order_by(
        "flag_id", "rule"
    )
    with transaction(database) as connection:
        before = connection.execute(rules).all()
        config = schema._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    schema.migrate(database)
    with transaction(database, read_only=True) as connection:
        assert connection.execute(rules).all() == before
    assert [row.rule for row in before] == ["a", "b", "a"]


def test_a_moderator_searches_on_the_queue_page(
    console: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag(console.database, "here", text="The tap <b>drips</b>", priority=1)
    for number in range(4):
        flag(console.database, f"p{number}", text="other", priority=20)
    person = console.client("ann")
    page = person.get("/", params={"words": "TAP <b>dr"}).text
    assert "/flags/1" in page
    assert "post <bdi>p0" not in page
    assert "<b>dr" not in page
    assert "No matching flags" in person.get("/", params={"words": "nowhere"}).text
    monkeypatch.setattr(worklist, "SEARCHED_AT_ONCE", 2)
    page = person.get("/", params={"words": "tap"}).text
    assert "Nothing found yet" in page
    cursor = page.split("cursor=")[1].split('"')[0]
    assert "/flags/1" in person.get(f"/?words=tap&cursor={cursor}").text


def test_a_moderator_filters_by_language_and_sees_it(console: ConsoleServer) -> None:
    flag(console.database, "here", language="de-AT")
    flag(console.database, "there")
    person = console.client("ann")
    page = person.get("/", params={"language": "DE"}).text
    assert "<span>in de</span>" in page
    assert 'dir="auto" lang="de"' in page
    assert "there</bdi>" not in page
    assert "there</bdi>" in person.get("/", params={"language": "und"}).text
    assert 'href="/?state=open&amp;language=de"' in person.get("/flags/1").text
    refused = person.get("/", params={"language": "Deutsch"})
    assert (refused.status_code, "two or three letters" in refused.text) == (422, True)
