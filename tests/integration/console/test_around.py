"""What is around a post: its thread, what became of it, and what is known of its author."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from sources.files import FileSource
from storage import tables
from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.judging.values import GonePost
from storage.keeping.erasure import digest, erase
from storage.reviews import second_looks
from tasks.intake.intake import Intake
from tests import console_data
from tests.console_server import ConsoleServer, serving

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
BAD = "<script>alert(1)</script>"


class Platform:
    """A console on a file of posts."""

    def __init__(self, server: ConsoleServer, file: Path) -> None:
        self.server = server
        self._file = file

    def has(self, *posts: dict[str, Any]) -> None:
        """From now on the platform has these posts and no others."""
        self._file.write_text("".join(json.dumps(each) + "\n" for each in posts))

    def flag(self, post_id: str, text: str = "as it was", **more: Any) -> int:
        sha256 = self.server.store.put(text.encode())
        evidence = [{"kind": "original_text", "sha256": sha256}]
        return console_data.flag(
            self.server.database, post_id, content=text, evidence=evidence, **more
        )

    def told(self, flag_id: int, **more: Any) -> dict[str, Any]:
        """What a program is told."""
        answer = self.server.client().http.get(
            f"/api/v1/flags/{flag_id}/thread",
            headers=self.server.token("bot", "flags:read", role="viewer"),
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
def platform(tmp_path: Path, database: Engine, intake: Intake) -> Any:
    file = tmp_path / "posts.jsonl"
    file.write_text('{"id": "first", "text": ""}\n')
    source = FileSource(file, threads=1)
    store = EvidenceStore(str(tmp_path / "evidence"))
    with serving(database, intake, store, source=source) as server:
        yield Platform(server, file)
    source.close()


def post(post_id: str, text: str = "as it was", **more: Any) -> dict[str, Any]:
    return {"id": post_id, "text": text, **more}


def test_a_flag_shows_the_thread_with_every_word_escaped(platform: Platform) -> None:
    flag_id = platform.flag("c", parent="b")
    platform.has(
        post("a", BAD, author="<b>eve", parent="c", url="javascript:alert(1)"),
        post("b", "the second", parent="a", url="https://platform.example/b"),
        post("c", parent="b", url="https://platform.example/c"),
    )
    told = platform.told(flag_id)
    assert [each["post_id"] for each in told["before"]] == ["a", "b"]
    assert (told["now"], told["goes_on"], told["parent"]) == ("same", False, "b")
    assert [each["url"] for each in told["before"]] == [None, "https://platform.example/b"]
    ann = platform.server.client("ann")
    shown = ann.get(f"/flags/{flag_id}/thread").text
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<b>eve" not in shown
    assert 'href="https://platform.example/c" rel="noreferrer noopener nofollow"' in shown
    # Without a script, the page itself shows it when it is asked.
    assert "Show the thread" in ann.get(f"/flags/{flag_id}").text
    assert "the second" in ann.get(f"/flags/{flag_id}?thread=now").text


def test_a_post_that_changed_says_so_with_the_words_of_now(platform: Platform) -> None:
    flag_id = platform.flag("c")
    platform.has(post("c", "I never <i>said</i> it", images=["one.jpg"]))
    told = platform.told(flag_id)
    assert (told["now"], told["text"], told["pictures"]) == ("changed", "I never <i>said</i> it", 1)
    shown = platform.server.client("ann").get(f"/flags/{flag_id}/thread").text
    assert "has changed since it was judged" in shown
    assert "&lt;i&gt;said" in shown


def test_what_a_worker_saw_later_is_said_without_asking(
    platform: Platform, database: Engine
) -> None:
    platform.server.app.state.console.source = None
    flag_id = platform.flag("c")
    assert platform.told(flag_id)["now"] == "unknown"
    with transaction(database) as connection:
        later = console_data.verdict("c", content="new words", flagged=False)
        record(connection, verdicts=[later])
    assert platform.told(flag_id)["now"] == "changed"
    with transaction(database) as connection:
        record(connection, verdicts=[], gone=[GonePost("c", "404")])
    assert platform.told(flag_id)["now"] == "gone"
    assert (
        "no longer on the platform" in platform.server.client("ann").get(f"/flags/{flag_id}").text
    )


def test_of_an_erased_post_nothing_is_asked_and_nothing_kept(
    platform: Platform, database: Engine
) -> None:
    flag_id = platform.flag("c", parent="b", url="https://platform.example/c")
    other = platform.flag("d", parent="c")
    platform.has(post("b", "secret b"), post("c", "secret c", parent="b"), post("d", parent="c"))
    with transaction(database) as connection:
        erase(connection, "post", "c", requested_by="ann")
        kept = connection.execute(
            select(tables.verdicts.c.parent, tables.verdicts.c.url).where(
                tables.verdicts.c.post_id == "c"
            )
        ).one()
    assert tuple(kept) == (None, None)
    assert platform.told(flag_id)["before"] == []
    (above,) = platform.told(other)["before"]
    assert (above["state"], above["text"]) == ("gone", None)


def test_a_second_look_shows_the_thread_and_not_what_became_of_the_post(
    platform: Platform, database: Engine
) -> None:
    flag_id = platform.flag("c", parent="b", url="https://platform.example/c")
    platform.has(post("b", "the one before"))
    with transaction(database) as connection:
        lea = console_data.moderator(connection, "lea", "lead")
        decisions.decide(
            connection, flag_id, lea, Said(action="remove", reason_code="hate"), report=False
        )
        second_looks.appeal(connection, flag_id, actor=lea, why=None)
    ben = platform.server.client("ben")
    path = ben.post("/next").headers["Location"]
    assert path.startswith("/reviews/")
    for shown in (ben.get(f"{path}/thread").text, ben.get(f"{path}?thread=now").text):
        assert "the one before" in shown
        assert "no longer on the platform" not in shown
        assert "https://platform.example/c" not in shown
    assert ben.get(f"/flags/{flag_id}/thread").status_code == 409
    assert platform.server.client("cy").get(f"{path}/thread").status_code == 409


def test_an_author_s_page_counts_what_its_reader_may_know(
    platform: Platform, database: Engine
) -> None:
    first, second = platform.flag("a"), platform.flag("b")
    platform.flag("c")
    platform.flag("other", author="cy")
    with transaction(database) as connection:
        lea = console_data.moderator(connection, "lea", "lead")
        decisions.decide(
            connection, first, lea, Said(action="remove", reason_code="hate"), report=False
        )
        decisions.decide(connection, second, lea, Said(action="approve"), report=False)
        second_looks.appeal(connection, first, actor=lea, why=None)
    headers = platform.server.token("bot", "flags:read", role="lead")
    http = platform.server.client().http
    told = http.get("/api/v1/author", params={"name": "ann"}, headers=headers).json()
    assert (told["counted"], told["waiting"], told["decided"]) == (3, 1, 2)
    assert (told["removed"], told["share_removed"], told["hidden"]) == (1, 0.5, 0)
    # The appeal may come to whoever has said nothing yet: for them it counts nowhere.
    headers = platform.server.token("ben", "flags:read")
    told = http.get("/api/v1/author", params={"name": "ann"}, headers=headers).json()
    assert (told["counted"], told["removed"], told["hidden"]) == (2, 0, 1)
    page = platform.server.client("ben").get("/author", params={"name": "ann"}).text
    assert 'href="/flags/2"' in page
    assert 'href="/flags/1"' not in page
    assert platform.server.client("vi", "viewer").get("/author?name=ann").status_code == 403
    with transaction(database) as connection:
        audit = connection.execute(
            select(tables.audit_log.c.actor, tables.audit_log.c.subject).where(
                tables.audit_log.c.action == "author.view"
            )
        ).all()
    assert [tuple(row) for row in audit] == [
        (name, f"author {digest('ann')}") for name in ("bot", "ben", "ben")
    ]
