"""The console over real HTTP: who may see what, and what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from console.access import make_token
from storage.database import transaction
from storage.evidence import EvidenceStore
from storage.outcomes import NewEvidence, NewFlag, NewVerdict, record
from tasks.intake import Intake
from tests.harness import environment
from worker.embedded import EmbeddedValkey

SECRET = "s" * 48
HOSTILE = "<script>alert(1)</script> so <b>great</b>"


class Browser:
    """A client without any cleverness: it follows nothing and keeps no cookie."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        return self.ask("GET", path, None, headers)

    def ask(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, {**headers}, method=method)
        if data:
            asked.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(_FollowNothing)
        try:
            with opener.open(asked, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()


class _FollowNothing(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@pytest.fixture
def browser(
    tmp_path: Path,
    valkey_server: EmbeddedValkey,
    intake: Intake,
    database: Engine,
    database_url: str,
) -> Iterator[Browser]:
    store = EvidenceStore(str(tmp_path / "evidence"))
    text, image = store.put(HOSTILE.encode()), store.put(b"\xff\xd8 not really a picture")
    verdict = NewVerdict(
        post_id="post/42 ünï",
        content_hash="a" * 64,
        model_version="mini-1",
        calibration_version="none",
        policy_version="p1",
        negative=0.9,
        neutral=0.05,
        positive=0.05,
        sarcasm=0.8,
        author="<i>eve</i>",
        degraded=[{"image": 1, "location": "x", "problem": "the image host answered 404"}],
        evidence=[
            {"kind": "original_text", "sha256": text},
            {"kind": "image", "sha256": image},
        ],
        flag=NewFlag(
            "sarcasm",
            40,
            [
                {
                    "rule": "sarcastic",
                    "conditions": [
                        {"score": "sarcasm", "comparison": ">=", "threshold": 0.7, "value": 0.8}
                    ],
                }
            ],
        ),
    )
    kept = [
        NewEvidence(text, "original_text", "text/plain", len(HOSTILE)),
        NewEvidence(image, "image", "image/jpeg", 22),
    ]
    with transaction(database) as connection:
        record(connection, verdicts=[verdict], evidence=kept)
    child = subprocess.Popen(
        [sys.executable, "-m", "deadpan", "console", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(
            redis_url=valkey_server.url,
            database_url=database_url,
            evidence_url=tmp_path / "evidence",
            secret_key=SECRET,
        ),
    )
    assert child.stdout
    with child, child.stdout:
        try:
            link = child.stdout.readline()
            found = re.fullmatch(r"console: (http://127\.0\.0\.1:\d+)/sign-in\?token=(\S+)\n", link)
            assert found, link
            yield Browser(found[1])
        finally:
            child.terminate()
            child.wait(timeout=30)


@pytest.mark.parametrize(
    "path", ["/", "/evidence/" + "a" * 64, "/api/v1/flags", "/api/v1/verdicts/1"]
)
def test_nobody_sees_anything_without_a_token(browser: Browser, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Cookie": "deadpan_console=x"}):
        status, _, body = browser.get(path, **headers)
        assert status == 401
        assert "script" not in body


def test_the_sign_in_link_opens_the_open_flags(browser: Browser) -> None:
    status, headers, _ = browser.get(f"/sign-in?token={make_token(SECRET)}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    status, headers, page = browser.get("/", Cookie=cookie.split(";")[0])
    assert status == 200
    assert "sarcasm is 0.80 (&gt;= 0.7)" in page
    assert "image 2 was not seen: the image host answered 404" in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_what_a_platform_wrote_is_shown_as_text_and_never_as_markup(browser: Browser) -> None:
    _, _, page = browser.get("/", Authorization=f"Bearer {make_token(SECRET)}")
    assert "<script>" not in page
    assert "<i>eve" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_picture_is_shown_only_when_asked_for_and_only_if_it_is_evidence(
    browser: Browser,
) -> None:
    token = {"Authorization": f"Bearer {make_token(SECRET)}"}
    _, _, page = browser.get("/", **token)
    (path,) = re.findall(r'src="(/evidence/[0-9a-f]{64})"', page)
    assert "<details>" in page
    assert browser.get(path, **token)[1]["content-type"] == "image/jpeg"
    text = browser.get("/api/v1/flags", **token)[2]
    (original,) = re.findall(r'"original_text","sha256":"([0-9a-f]{64})"', text)
    assert browser.get(f"/evidence/{original}", **token)[0] == 404, "texts are never served raw"
    assert browser.get("/evidence/..%2f..%2fetc", **token)[0] == 404


def test_the_api_answers_for_one_post_and_takes_new_ones(browser: Browser, intake: Intake) -> None:
    token = {"Authorization": f"Bearer {make_token(SECRET)}"}
    path = "/api/v1/verdicts/" + urllib.parse.quote("post/42 ünï", safe="")
    status, _, body = browser.get(path, **token)
    assert status == 200
    told = json.loads(body)
    assert told["outcome"] == "judged"
    assert told["verdict"]["sarcasm"] == 0.8
    assert browser.get("/api/v1/verdicts/unknown", **token)[0] == 404
    wanted = {"post_ids": ["1", "2"], "priority": "high"}
    status, _, body = browser.ask("POST", "/api/v1/posts", wanted, token)
    assert (status, json.loads(body)) == (202, {"pushed": 2})
    assert intake.client.lrange("deadpan:posts:high", 0, -1) == [b"1", b"2"]
    status, headers, body = browser.ask("POST", "/api/v1/posts", {"post_ids": ["a\nb"]}, token)
    assert status == 422
    assert headers["content-type"] == "application/problem+json"
    assert "control character" in body


def test_the_console_says_whether_it_can_do_its_job(browser: Browser) -> None:
    assert browser.get("/healthz")[0] == 200
    status, _, body = browser.get("/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "why": None})
