"""What would be erased is said before it is, and a name that is misspelt is said to be unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from storage import tables
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.keeping import erasure
from tasks.intake.intake import Intake
from tests.console_data import flag
from tests.console_server import ConsoleServer, Person, serving

_LONGEST = "a1B2" * 64


@pytest.fixture
def console(tmp_path: Path, intake: Intake, database: Engine) -> Iterator[ConsoleServer]:
    """A console with a flagged post, and one that is gone."""
    flag(database, "flagged", author="zoe")
    flag(database, _LONGEST, author="zoe")
    now = datetime.now(UTC)
    with transaction(database) as connection:
        connection.execute(
            insert(tables.gone_posts).values(
                post_id="gone", why="404", seen_at=now, last_seen_at=now
            )
        )
    with serving(database, intake, EvidenceStore(str(tmp_path / "evidence"))) as server:
        yield server


def _preview(admin: Person, kind: str, subject: str) -> str:
    answer = admin.post("/erasure/preview", {"kind": kind, "subject": subject})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("post_id", ["flagged", "gone", _LONGEST])
def test_a_post_that_is_known_in_any_way_is_counted(console: ConsoleServer, post_id: str) -> None:
    page = _preview(console.client("root", "admin"), "post", post_id)
    assert "1 post, " in page
    assert "was found" not in page


def test_a_misspelt_post_is_said_to_be_unknown_and_may_be_kept_out_all_the_same(
    console: ConsoleServer,
) -> None:
    admin = console.client("root", "admin")
    page = _preview(admin, "post", "Flagged")
    assert "No such post was found." in page
    assert "1 post" not in page
    fields = {"kind": "post", "subject": "Flagged", "sure": "yes"}
    done = admin.post("/erasure", fields).text
    assert "Nothing was stored about it here" in done
    with transaction(console.database, read_only=True) as connection:
        assert erasure.erased(connection, ["Flagged", "flagged"]) == {"Flagged"}


def test_an_author_of_whom_nothing_is_known_has_nothing_to_erase(console: ConsoleServer) -> None:
    admin = console.client("root", "admin")
    page = _preview(admin, "author", "zoé")
    assert re.search(r"No posts by <bdi>zoé</bdi> were found", page)
    assert 'name="sure"' not in page
    assert "2 posts, 2 verdicts" in _preview(admin, "author", "zoe")


def test_an_id_that_is_too_long_is_not_cut_to_another_one(console: ConsoleServer) -> None:
    admin = console.client("root", "admin")
    answer = admin.post("/erasure/preview", {"kind": "post", "subject": _LONGEST + "x"})
    assert (answer.status_code, "has 257 characters" in answer.text) == (422, True)


def test_the_list_has_true_counts_at_once_after_an_erasure(console: ConsoleServer) -> None:
    admin = console.client("root", "admin")
    assert 'data-live="open">2<' in admin.get("/").text
    fields = {"kind": "post", "subject": "flagged", "sure": "yes"}
    assert 'data-live="open">1<' in admin.post("/erasure", fields).text
    assert 'data-live="open">1<' in admin.get("/").text
