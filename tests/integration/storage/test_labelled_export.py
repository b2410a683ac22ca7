"""What moderators said comes out as posts that training and evaluation read as they are."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import Engine

from models.data.posts_file import read_posts
from storage.base.database import connect, transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.migrations.schema import migrate
from storage.people import audit
from storage.people.moderators import Moderator
from storage.reports import labelled
from tasks.housekeeping.erasure import erase
from tasks.intake.intake import Intake
from tests.console_data import moderator, verdict
from tests.console_server import ConsoleServer, serving
from tests.harness import deadpan

EARLIER = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(str(tmp_path / "evidence"))


@pytest.fixture
def ann(database: Engine) -> Moderator:
    with transaction(database) as connection:
        return moderator(connection, "ann", "lead")


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def judged(database: Engine, store: EvidenceStore, post_id: str, text: str, *images: bytes) -> int:
    kept = [
        {"kind": kind, "sha256": store.put(text.encode())} for kind in ("original_text", "text")
    ]
    kept += [{"kind": "image", "sha256": store.put(image)} for image in images]
    with transaction(database) as connection:
        found = record(connection, verdicts=[verdict(post_id, content=text, evidence=kept)])
    return {**found.opened_flag_ids, **found.updated_flag_ids}[post_id]


def say(database: Engine, flag: int, who: Moderator, action: str = "remove", **said: object) -> int:
    with transaction(database) as connection:
        now = said.pop("now", None)
        return decisions.decide(connection, flag, who, Said(action, **said), now=now).id  # type: ignore[arg-type]


@pytest.fixture
def work(database: Engine, store: EvidenceStore, ann: Moderator) -> None:
    red, blue = picture("red"), picture("blue")
    one = judged(database, store, "1", "a\nred and a blue one \u2028 “so nice”", red, blue)
    say(database, one, ann, "escalate", sentiment="positive", sarcastic=True)
    say(database, one, ann, sentiment="negative")  # the later wins, and says nothing of sarcasm
    two = judged(database, store, "2", "red again", red)
    say(database, two, ann, sarcastic=False, offensive=True)
    undone = say(database, judged(database, store, "3", "a mistake"), ann, sentiment="neutral")
    with transaction(database) as connection:
        decisions.undo(connection, undone, ann, claim_seconds=60)
    say(database, judged(database, store, "4", "no label"), ann)
    say(
        database, judged(database, store, "5", "ERASED", picture("green")), ann, sentiment="neutral"
    )
    erase(database, store, "post", "5", requested_by="lea")
    old = judged(database, store, "6", "what it said at first")
    say(database, old, ann, sentiment="positive", sarcastic=True, now=EARLIER)
    new = judged(database, store, "6", "what it says now")
    say(database, new, ann, sentiment="neutral")
    old = judged(database, store, "7", "long ago")
    say(database, old, ann, sentiment="neutral", now=EARLIER)


def test_training_reads_what_moderators_said_and_nothing_else(
    database: Engine, store: EvidenceStore, work: None, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    with transaction(database, read_only=True) as connection:
        tally = labelled.write_folder(connection, store, folder)
    assert (tally.posts, tally.images, tally.without_evidence) == (4, 2, 0)
    read = read_posts(folder / "posts.jsonl")
    assert read.warnings == ()
    found = {
        post.id: (post.text, len(post.images), post.sentiment, post.sarcastic, post.offensive)
        for post in read.posts
    }
    assert found == {
        "1": ("a\nred and a blue one \u2028 “so nice”", 2, "negative", True, None),
        "2": ("red again", 1, None, False, True),
        "6": ("what it says now", 0, "neutral", None, None),
        "7": ("long ago", 0, "neutral", None, None),
    }
    by_id = {post.id: post for post in read.posts}
    assert by_id["1"].images[0] == by_id["2"].images[0]
    assert by_id["1"].images[1].read_bytes() == picture("blue")
    assert not any(b"ERASED" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    with transaction(database, read_only=True) as connection:
        since = labelled.moment((EARLIER + timedelta(days=1)).date().isoformat())
        assert [post.post_id for post in labelled.labelled(connection, since=since)] == [
            "1", "2", "6"
        ]  # fmt: skip


def test_what_is_missing_from_the_store_is_counted_and_all_of_it_is_an_error(
    database: Engine, store: EvidenceStore, work: None, tmp_path: Path
) -> None:
    red = next(Path(tmp_path / "evidence").rglob(store.put(picture("red"))))
    red.unlink()
    with transaction(database, read_only=True) as connection:
        tally = labelled.write_folder(connection, store, tmp_path / "some")
    assert (tally.posts, tally.images, tally.without_evidence) == (2, 0, 2)
    assert {post.id for post in read_posts(tmp_path / "some" / "posts.jsonl").posts} == {"6", "7"}
    elsewhere = EvidenceStore(str(tmp_path / "elsewhere"))
    with (
        pytest.raises(labelled.EvidenceUnavailable, match="no post could be exported"),
        transaction(database, read_only=True) as connection,
    ):
        labelled.write_folder(connection, elsewhere, tmp_path / "none")
    assert not (tmp_path / "none" / "posts.jsonl").exists()


@pytest.fixture
def console(database: Engine, store: EvidenceStore, intake: Intake) -> Iterator[ConsoleServer]:
    with serving(database, intake, store) as server:
        yield server


def test_a_lead_downloads_the_same_and_it_is_written_down(
    console: ConsoleServer, database: Engine, work: None, tmp_path: Path
) -> None:
    lead = console.client("lea", "lead")
    assert "/labelled-posts.zip" in lead.get("/insight").text
    answer = lead.get("/labelled-posts.zip")
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path / "zip")
    read = read_posts(tmp_path / "zip" / "posts.jsonl")
    assert [post.id for post in read.posts] == ["1", "2", "6", "7"]
    assert [len(post.images) for post in read.posts] == [2, 1, 0, 0]
    assert lead.get("/labelled-posts.zip?since=yesterday").status_code == 422
    assert console.client("mo").get("/labelled-posts.zip").status_code == 403
    with transaction(database, read_only=True) as connection:
        entries = audit.read(connection, limit=99, action="export")
    assert [(entry.actor, entry.subject) for entry in entries] == [("lea", "labelled posts")]


def test_the_command_writes_a_folder_once_and_evaluate_reads_it(tmp_path: Path) -> None:
    database = connect(f"sqlite:///{tmp_path / 'deadpan.db'}")
    migrate(database)
    store = EvidenceStore(str(tmp_path / "evidence"))
    with transaction(database) as connection:
        who = moderator(connection, "ann")
    for number, sentiment in enumerate(("negative", "positive", "neutral")):
        flag = judged(database, store, str(number), f"number {number}", picture("red"))
        say(database, flag, who, sentiment=sentiment, sarcastic=bool(number % 2))
    database.dispose()

    where = {
        "database_url": f"sqlite:///{tmp_path / 'deadpan.db'}",
        "evidence_url": tmp_path / "evidence",
    }
    to = ["export", "decisions", "--to", str(tmp_path / "out")]
    done = deadpan(*to, "--json", **where)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "file": str(tmp_path / "out" / "posts.jsonl"),
        "posts": 3,
        "images": 1,
        "without_evidence": 0,
    }
    again = deadpan(*to, **where)
    assert (again.returncode, "holds a posts.jsonl already" in again.stderr) == (2, True)
    wrong = deadpan("export", "decisions", "--to", str(tmp_path / "x"), "--since", "soon", **where)
    assert (wrong.returncode, "'soon'" in wrong.stderr) == (2, True)
    measured = deadpan("evaluate", told["file"], "--json", **where)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["sentiment"]["fused"]["n"] == 3
    database = connect(f"sqlite:///{tmp_path / 'deadpan.db'}")
    with transaction(database, read_only=True) as connection:
        (entry, *_) = audit.read(connection, limit=9, action="export")
    database.dispose()
    assert (entry.actor, entry.subject) == ("command line", "labelled posts")
