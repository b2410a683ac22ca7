"""The console over real HTTP: signing in, what is shown, and decisions without a lost one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import httpx
from PIL import Image, ImageChops

from console.work.pictures import Pictures
from storage.base.database import transaction
from storage.flags import decisions, worklist
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.judging.values import NewEvidence
from storage.people import audit
from tasks.intake.intake import Intake
from tests.console_data import flag, reason, verdict
from tests.console_server import ConsoleServer, serving

HOSTILE = "<script>alert(1)</script> so <b>great</b>"


def _hostile_flag(console: ConsoleServer) -> int:
    store = console.store
    text, image = store.put(HOSTILE.encode()), store.put(b"\xff\xd8 not really a picture")
    hostile = verdict(
        "post/42 <i>ünï",
        author="<i>eve</i>",
        queue="sarcasm",
        sarcasm=0.8,
        reasons=[reason("sarcastic", "sarcasm", 0.7, 0.8), {"rule": "<u>odd</u>"}],
        degraded=[{"image": 1, "location": "x", "problem": "<b>404</b>"}],
        unread=[
            {"what": "text", "problem": "cut after 5 of 9 characters"},
            {"what": "image", "index": 0, "problem": "the file <b>ends</b> early"},
        ],
        language="tr",
        unlearnt=True,
        evidence=[
            {"kind": "original_text", "sha256": text},
            {"kind": "text", "sha256": text},
            {"kind": "image", "sha256": image},
        ],
        explanation={
            "score": "sarcasm",
            "words": [{"start": 0, "end": 8, "word": "<script>", "effect": 0.3}],
        },
    )
    kept = [
        NewEvidence(text, "original_text", "text/plain", len(HOSTILE)),
        NewEvidence(image, "image", "image/jpeg", 22),
    ]
    with transaction(console.database) as connection:
        recorded = record(connection, verdicts=[hostile], evidence=kept)
    return recorded.opened_flag_ids["post/42 <i>ünï"]


def test_what_a_platform_wrote_is_shown_as_text_and_never_as_markup(
    console: ConsoleServer,
) -> None:
    number, person = _hostile_flag(console), console.client("ann")
    person.post(f"/flags/{number}/decide", {"action": "skip", "note": "<s>note</s>"})
    for path in ("/", f"/flags/{number}", "/?post=<script>x", "/history", "/insight"):
        page = person.get(path).text
        for markup in ("<script>a", "<script>x", "<i>", "<u>", "<s>", "<b>4"):
            assert markup not in page, path
    page = person.get(f"/flags/{number}").text
    assert "&lt;script&gt;" in page
    assert "Sarcasm of words and pictures together is 0.80; the rule fires at 0.70 or more" in page
    assert "Picture 2 unavailable" in page
    assert "The text was only partly read: cut after 5 of 9 characters" in page
    assert "Picture 1 was only partly read: the file &lt;b&gt;ends&lt;/b&gt; early" in page
    assert "The model never learnt the language of this post (tr): its scores say little" in page


def test_words_in_pictures_are_told_apart_from_what_the_author_wrote(
    console: ConsoleServer,
) -> None:
    original, seen = "nice day", "nice day\nGO AWAY"
    texts = {"original_text": console.store.put(original.encode())}
    texts["text"] = console.store.put(seen.encode())
    shouting = verdict(
        "post",
        queue="negative",
        evidence=[{"kind": kind, "sha256": sha} for kind, sha in texts.items()],
        explanation={
            "score": "negative",
            "words": [{"start": 9, "end": 11, "word": "GO", "effect": 0.3}],
        },
    )
    kept = [NewEvidence(sha, kind, "text/plain", 9) for kind, sha in texts.items()]
    with transaction(console.database) as connection:
        number = record(connection, verdicts=[shouting], evidence=kept).opened_flag_ids["post"]
    page = console.client("ann").get(f"/flags/{number}").text
    assert '<p dir="auto">nice day</p>' in page
    assert (
        '<h3>Text found in pictures</h3><p dir="auto"><mark class="up l3">GO</mark> AWAY</p>'
        in page
    )


def test_a_text_in_other_letters_is_marked_as_it_was_written(console: ConsoleServer) -> None:
    original, seen = "oh 𝗵𝗮𝘁𝗲 <b>it</b>", "oh hate it"
    texts = {"original_text": console.store.put(original.encode())}
    texts["text"] = console.store.put(seen.encode())
    told = verdict(
        "post",
        queue="negative",
        evidence=[{"kind": kind, "sha256": sha} for kind, sha in texts.items()],
        explanation={
            "score": "sentiment.negative",
            "window": {"start": 0, "end": 10},
            "words": [
                {"start": 3, "end": 7, "word": "hate", "effect": 0.3, "original": [3, 7]},
                {"start": 8, "end": 10, "word": "it", "effect": 0.0, "original": [11, 13]},
            ],
        },
    )
    kept = [NewEvidence(sha, kind, "text/plain", 9) for kind, sha in texts.items()]
    with transaction(console.database) as connection:
        number = record(connection, verdicts=[told], evidence=kept).opened_flag_ids["post"]
    page = console.client("ann").get(f"/flags/{number}").text
    assert '<p dir="auto">oh <mark class="up l3">hate</mark> it</p>' in page
    assert 'oh <mark class="up l3">𝗵𝗮𝘁𝗲</mark> &lt;b&gt;it&lt;/b&gt;</p>' in page
    assert "Characters 1 to 10 determined the score" in page


def test_answers_carry_what_keeps_a_browser_safe(console: ConsoleServer) -> None:
    person = console.client("ann")
    for path in ("/", "/nothing", "/static/console.js", "/healthz"):
        headers = person.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert person.get("/").headers["cache-control"] == "no-store"
    for path in ("/", f"/flags/{_hostile_flag(console)}", "/insight", "/settings"):
        page = person.get(path).text
        assert not re.search(r"<script(?! src)|\sstyle=|\son[a-z]+=|javascript:", page), path


def test_browsers_keep_static_files_until_they_change_and_pages_never(
    console: ConsoleServer,
) -> None:
    page = console.client("ann").get("/")
    assert page.headers["cache-control"] == "no-store"
    found = re.findall(r'"(/static/[^"]+)"', page.text)
    assert len(found) == 4
    for path in found:
        answer = console.client().get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "max-age=31536000, immutable"
        bare = console.client().get(path.partition("?")[0])
        assert bare.headers["cache-control"] == "no-cache"


def test_a_picture_is_evidence_and_a_look_at_it_is_noted(console: ConsoleServer) -> None:
    number, person = _hostile_flag(console), console.client("ann")
    with transaction(console.database, read_only=True) as connection:
        sha = worklist.one(connection, number).verdict.evidence[-1]["sha256"]
    page = person.get(f"/flags/{number}").text
    assert "Picture 1 is no longer available." in page
    assert "/evidence/" not in page
    assert person.get(f"/evidence/{sha}?as=blur").status_code == 404, "no picture, no preview"
    answer = person.get(f"/evidence/{sha}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    with transaction(console.database, read_only=True) as connection:
        (entry,) = audit.read(connection, limit=9, action="picture.view")
        text = worklist.one(connection, number).verdict.evidence[0]["sha256"]
    assert (entry.actor, entry.subject) == ("ann", f"evidence {sha}")
    for wrong in (text, "a" * 64, "..%2f..%2fetc", sha.upper()):
        assert person.get(f"/evidence/{wrong}").status_code == 404, "texts are never served raw"


def test_a_blurred_preview_knows_no_more_than_a_few_pixels(tmp_path: Path) -> None:
    store = EvidenceStore(str(tmp_path))
    noise = Image.effect_noise((300, 200), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    sha = store.put(buffer.getvalue())
    pictures = Pictures(store)
    assert pictures.size(sha) == (300, 200)
    preview = Image.open(io.BytesIO(pictures.bytes_of(sha, "blur"))).convert("L")
    assert preview.size == (300, 200)
    few = preview.resize((15, 10), Image.Resampling.BOX).resize(
        preview.size, Image.Resampling.BICUBIC
    )
    lost = ImageChops.difference(preview, few).getextrema()
    assert lost[1] < 12, "there is nothing in it that 150 pixels could not say"
    assert ImageChops.difference(noise.convert("L"), preview).getextrema()[1] > 100
    grey = Image.open(io.BytesIO(pictures.bytes_of(sha, "grey")))
    assert grey.mode == "L"


def test_a_shift_goes_from_one_flag_to_the_next(console: ConsoleServer) -> None:
    ids = [flag(console.database, f"p{number}", priority=9 - number) for number in range(3)]
    person = console.client("ann")
    where = person.post("/next").headers["location"]
    for number in ids:
        assert where.startswith(f"/flags/{number}")
        assert "Claimed by you" in person.get(where).text
        fields = {"action": "remove", "reason_code": "hate", "sentiment": "negative"}
        where = person.post(f"/flags/{number}/decide", fields).headers["location"]
    assert where.startswith("/?after=")
    assert "empty=1" in where
    page = person.get(where).text
    assert "Nothing to review" in page
    undo = re.search(r'action="(/decisions/\d+/undo)"', page)
    assert undo
    assert person.post(undo[1]).headers["location"] == f"/flags/{ids[-1]}"
    assert "Claimed by you" in person.get(f"/flags/{ids[-1]}").text


def test_removing_needs_a_reason_and_nothing_typed_is_lost(console: ConsoleServer) -> None:
    number, person = flag(console.database, "p1"), console.client("ann")
    fields = {"action": "remove", "note": "a long thought", "sarcastic": "yes"}
    answer = person.post(f"/flags/{number}/decide", fields)
    assert answer.status_code == 422
    assert "choose a reason" in answer.text
    assert "a long thought" in answer.text
    assert person.post(f"/flags/{number}/decide", {"action": "burn"}).status_code == 422


def test_who_is_beaten_to_a_flag_is_told_so_and_keeps_their_words(console: ConsoleServer) -> None:
    number = flag(console.database, "p1")
    ann, bob = console.client("ann"), console.client("bob")
    assert ann.post(f"/flags/{number}/claim").status_code == 303
    fields = {"action": "remove", "reason_code": "hate", "note": "my words"}
    answer = bob.post(f"/flags/{number}/decide", fields)
    assert answer.status_code == 409
    assert "ann has claimed this flag" in answer.text
    assert ann.post(f"/flags/{number}/decide", fields).status_code == 303
    answer = bob.post(f"/flags/{number}/decide", fields)
    assert "somebody was faster: this flag was removed" in answer.text
    with transaction(console.database, read_only=True) as connection:
        assert len(decisions.history(connection, limit=9)) == 1


def test_what_is_not_kept_any_more_is_told_in_plain_words(
    console: ConsoleServer, tmp_path: Path
) -> None:
    """Retention and erasure empty the evidence; a store may have lost some of it."""
    sha256 = console.store.put(b"what was posted")
    lost = ({"kind": "original_text", "sha256": sha256}, {"kind": "image", "sha256": "0" * 64})
    evidence = [NewEvidence(sha256, "original_text", "text/plain", 15)]
    evidence.append(NewEvidence("0" * 64, "image", "image/jpeg", 1))
    made = [verdict("kept"), verdict("lost", evidence=lost)]
    with transaction(console.database) as connection:
        numbers = record(connection, verdicts=made, evidence=evidence).opened_flag_ids
    console.store.delete(sha256)
    person = console.client("ann")
    assert "(no longer stored)" in person.get(f"/flags/{numbers['kept']}").text
    page = person.get(f"/flags/{numbers['lost']}").text
    assert "(text unavailable)" in page
    assert "Picture 1 is no longer available." in page
    for path in ("/", f"/flags/{numbers['lost']}"):
        said = person.get(path).text
        assert sha256 not in said
        assert console.store.name not in said, "where things are kept is for who runs it"


def test_many_are_previewed_decided_and_undone(console: ConsoleServer) -> None:
    ids = [flag(console.database, f"p{number}") for number in range(4)]
    ann, bob = console.client("ann"), console.client("bob")
    bob.post(f"/flags/{ids[0]}/claim")
    assert ann.post("/bulk", {"action": "remove"}).status_code == 422
    picked = {"flag": [str(number) for number in ids], "action": "remove", "reason_code": "spam"}
    page = ann.post("/bulk", picked).text
    assert "Remove 3 flags?" in page
    assert "1 cannot be decided and will be left unchanged" in page
    assert "claimed by bob" in page
    seen = re.findall(r'name="seen" value="(\d+:\d+)"', page)
    where = ann.post("/bulk/decide", {**picked, "seen": seen}).headers["location"]
    page = ann.get(where).text
    assert "3 flags" in page
    undo = re.search(r'action="(/bulk/[0-9a-f]+/undo)"', page)
    assert undo
    assert bob.post(undo[1]).status_code == 409, "not their batch"
    assert ann.post(undo[1]).headers["location"] == "/"
    with transaction(console.database, read_only=True) as connection:
        states = [each.state for each in worklist.many(connection, ids)]
    assert states == ["claimed", "open", "open", "open"]


def test_lists_lead_on_and_filters_find(console: ConsoleServer) -> None:
    for number in range(30):
        flag(console.database, f"p{number}", author="zoe" if number == 7 else "ann")
    person = console.client("ann")
    first = person.get("/").text
    onwards = re.search(r'href="(/\?cursor=[^"]+)" rel="next"', first)
    assert onwards
    second = person.get(onwards[1]).text

    def posts(page: str) -> set[str]:
        return set(re.findall(r"post <bdi>(p\d+)</bdi>", page))

    assert len(posts(first)) == 25
    assert len(posts(first) | posts(second)) == 30
    assert 'href="/?size=100"' in first
    assert len(posts(person.get("/?size=100").text)) == 30
    assert posts(person.get("/?author=zoe").text) == {"p7"}
    assert posts(person.get("/?post=p9").text) == {"p9"}
    for wrong in ("/?cursor=x", "/?negative=2", "/?state=x", "/?age=2w", "/?size=7"):
        assert person.get(wrong).status_code == 422, wrong
    assert person.get("/flags/0").status_code == 404
    assert person.get("/flags/99999999999999999999").status_code == 404


def test_settings_are_kept(console: ConsoleServer) -> None:
    person = console.client("ann")
    person.post("/settings", {"pictures": "cover", "theme": "dark"})
    page = person.get("/settings").text
    assert 'data-theme="dark"' in page
    assert page.count(">this browser</span>") == 1, "this session is told apart from others"
    assert 'data-keys="off"' in page
    number = _hostile_flag(console)
    assert "/evidence/" not in person.get(f"/flags/{number}").text


def test_an_admin_erases_a_post_after_seeing_how_much_would_go(console: ConsoleServer) -> None:
    number = _hostile_flag(console)
    admin, post = console.client("root", "admin"), "post/42 <i>ünï"
    assert "Nothing has been erased yet" in admin.get("/erasure").text
    assert "alert(1)" in admin.get(f"/flags/{number}").text
    asked = {"kind": "post", "subject": post}
    page = admin.post("/erasure/preview", asked).text
    assert "1 post, 1 verdict, 1 open flag closed, 2 pieces of evidence" in page
    assert "<i>" not in page
    refused = admin.post("/erasure", asked)
    assert (refused.status_code, "nothing is erased" in refused.text) == (422, True)
    assert "alert(1)" in admin.get(f"/flags/{number}").text
    assert "Nothing has been erased yet" in admin.get("/erasure").text
    done = admin.post("/erasure", {**asked, "sure": "yes"}).text
    assert "1 post, 1 verdict, 1 open flag closed, 2 pieces of evidence" in done
    assert "Receipt" in done
    assert "alert(1)" not in admin.get(f"/flags/{number}").text
    assert admin.post("/erasure/preview", {"kind": "all", "subject": "x"}).status_code == 422
    assert admin.post("/erasure/preview", {"kind": "post", "subject": " "}).status_code == 422
    with transaction(console.database, read_only=True) as connection:
        entries = audit.read(connection, limit=9, action="erase.post")
    assert [entry.actor for entry in entries] == ["root"]


def test_an_admin_adds_people_and_tokens(console: ConsoleServer) -> None:
    admin = console.client("root", "admin")
    page = admin.post("/moderators", {"name": "zoe", "role": "lead"}).text
    assert re.search(r"/sign-in\?token=[\w-]{40,}", page)
    assert admin.post("/moderators", {"name": "zoe"}).status_code == 422
    assert admin.post("/moderators", {"name": "Not a name!"}).status_code == 422
    assert "last admin" in admin.post("/moderators/root/role", {"role": "viewer"}).text
    assert admin.post("/moderators/zoe/role", {"role": "viewer"}).status_code == 303
    page = admin.post("/tokens", {"name": "bot", "owner": "zoe", "scope": ["flags:read"]}).text
    token = re.search(r"deadpan_[\w-]{40,}", page)
    assert token
    assert token[0] not in admin.get("/moderators").text
    headers = {"Authorization": f"Bearer {token[0]}"}
    assert httpx.get(f"{console.url}/api/v1/flags", headers=headers).status_code == 200
    admin.post("/tokens/1/revoke")
    assert httpx.get(f"{console.url}/api/v1/flags", headers=headers).status_code == 401


def test_too_much_is_refused(console: ConsoleServer) -> None:
    person = console.client("ann")
    answer = person.http.post("/next", data={"queue": "x" * (2**20 + 1)})
    assert answer.status_code == 413


def test_the_console_says_whether_it_can_do_its_job(console: ConsoleServer) -> None:
    person = console.client()
    assert person.get("/healthz").status_code == 200
    assert person.get("/readyz").json() == {"ready": True, "why": None}


def test_a_reason_that_the_policy_has_no_more_stays_readable_and_is_offered_no_more(
    console: ConsoleServer, intake: Intake
) -> None:
    number = flag(console.database, "p1")
    ann = console.person("ann", "lead")
    with transaction(console.database) as connection:
        said = decisions.Said("remove", reason_code="self-harm")
        decisions.decide(connection, number, ann, said)
    other = flag(console.database, "p2")
    codes = {"nudity": "Nudity"}
    with serving(console.database, intake, console.store, reasons=codes) as later:
        person = later.client("ann", "lead")
        assert "Self harm" in person.get("/history").text
        assert "self harm" in person.get(f"/flags/{number}").text
        person.post(f"/flags/{other}/claim")
        page = person.get(f"/flags/{other}").text
        assert re.findall(r'name="reason_code" value="([^"]*)"', page) == ["nudity"]
        old = {"action": "remove", "reason_code": "self-harm"}
        answer = person.post(f"/flags/{other}/decide", old)
        assert (answer.status_code, "choose one of: nudity" in answer.text) == (422, True)
        assert person.post(f"/flags/{other}/decide", {**old, "reason_code": "nudity"}).is_redirect
        headers = later.token("ann", "flags:read")
        told = httpx.get(f"{later.url}/api/v1/decisions", headers=headers).json()
        assert [d["reason_code"] for d in told["decisions"]] == ["nudity", "self-harm"]
