"""The sample platform over real HTTP, and what it says of a posts file that is wrong."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from deadpan.core.errors import DataError
from deadpan.demo.platform import SamplePlatform
from deadpan.demo.posts import SENTIMENTS

OWN_POSTS = Path(__file__).parents[3] / "deadpan" / "demo" / "posts.jsonl"


@pytest.fixture
def own() -> Iterator[SamplePlatform]:
    with SamplePlatform(OWN_POSTS) as platform:
        yield platform


def get(url: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", url.removeprefix(f"http://{parts.netloc}"))
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def ask(platform: SamplePlatform, *post_ids: str) -> list[dict[str, Any]]:
    ids = ",".join(quote(post_id, safe="") for post_id in post_ids)
    status, content_type, body = get(platform.source.replace("{ids}", ids))
    assert (status, content_type) == (200, "application/json")
    answer = json.loads(body)
    assert answer.keys() == {"posts"}
    return list(answer["posts"])


def write_posts(folder: Path, *lines: object, name: str = "posts.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n")
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        SamplePlatform(path)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_posts_come_in_the_order_asked_for_and_without_those_that_are_gone(
    own: SamplePlatform,
) -> None:
    posts = ask(own, "1003", "deleted-by-author", "1001")
    assert [post["id"] for post in posts] == ["1003", "1001"]
    assert posts[1]["text"].endswith("Living my best life 🙃")
    assert posts[1]["author"] == "mara_k"
    assert posts[1]["created_at"] == "2026-03-02T07:41:10Z"


def test_every_id_of_the_demo_is_answered_and_nothing_tells_what_to_say_of_it(
    own: SamplePlatform,
) -> None:
    distinct = dict.fromkeys(own.post_ids)
    posts = ask(own, *distinct)
    gone = distinct.keys() - {post["id"] for post in posts}
    assert gone == {"1999", "deleted-by-author"}
    assert len(own.post_ids) > len(distinct)
    assert own.notes.keys() == {post["id"] for post in posts}
    assert own.labels == {}
    for post in posts:
        assert post.keys() == {"id", "text", "images", "author", "created_at", "language"}


@pytest.mark.parametrize("post_id", ["post/42 ünï", "sale:50%&more?"])
def test_an_unusual_id_finds_its_post(own: SamplePlatform, post_id: str) -> None:
    assert [post["id"] for post in ask(own, "1002", post_id)] == ["1002", post_id]


def test_an_id_may_hold_a_comma(tmp_path: Path) -> None:
    with SamplePlatform(
        write_posts(tmp_path, {"id": "a,b", "text": ""}, {"id": "a", "text": ""})
    ) as platform:
        assert [post["id"] for post in ask(platform, "a,b", "b")] == ["a,b"]


def test_an_id_that_is_asked_for_twice_is_answered_once(own: SamplePlatform) -> None:
    assert len(ask(own, "1001", "1001")) == 1


def test_pictures_are_served_byte_for_byte_and_a_missing_one_is_not_found(
    own: SamplePlatform,
) -> None:
    post_ids = ("1001", "1020", "1021", "1022", "1035")
    (kitchen,), (gif,), (webp,), (png,), (missing,) = (p["images"] for p in ask(own, *post_ids))
    file = OWN_POSTS.parent / "images" / "flooded_kitchen.jpg"
    assert get(kitchen) == (200, "image/jpeg", file.read_bytes())
    assert [get(url)[1] for url in (gif, webp, png)] == ["image/gif", "image/webp", "image/png"]
    assert get(missing)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/post",
        "/posts/1001",
        "/images/",
        "/images/-1",
        "/images/9999",
        "/images/99999999999999999999",
        "/images/1x",
        "/images/%30",
        "/images/²",
        "/images/../posts.jsonl",
        "/images/%2e%2e%2fposts.jsonl",
        "/images/flooded_kitchen.jpg",
        "/../../../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_a_file_that_no_post_names(own: SamplePlatform, path: str) -> None:
    parts = urlsplit(own.source)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert raw.makefile("rb").readline().split()[1] in (b"404", b"400")


def test_a_picture_that_became_a_link_to_the_outside_is_not_served(tmp_path: Path) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "a.jpg").write_bytes(b"fine")
    with SamplePlatform(
        write_posts(folder, {"id": "a", "text": "", "images": ["a.jpg"]})
    ) as platform:
        (url,) = ask(platform, "a")[0]["images"]
        assert get(url)[2] == b"fine"
        (folder / "a.jpg").unlink()
        (folder / "a.jpg").symlink_to(tmp_path / "secret.jpg")
        assert get(url)[0] == 404


def test_one_connection_carries_many_requests(own: SamplePlatform) -> None:
    connection = http.client.HTTPConnection(urlsplit(own.source).netloc, timeout=10)
    ports = set()
    for _ in range(5):
        connection.request("GET", "/posts?ids=1001")
        answer = connection.getresponse()
        answer.read()
        assert answer.version == 11
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_many_clients_are_served_at_once(own: SamplePlatform) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(own, "1001", "1002"), range(200)))
    assert all(len(answer) == 2 for answer in answers)


def test_closing_hangs_up_on_idle_clients_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with SamplePlatform(OWN_POSTS) as platform:
        netloc = urlsplit(platform.source).netloc
        idle = http.client.HTTPConnection(netloc, timeout=10)
        idle.request("GET", "/posts?ids=1001")
        idle.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", int(netloc.rpartition(":")[2])), 10)
        assert get(f"http://{netloc}/posts?ids=1001")[0] == 200
    assert set(threading.enumerate()) <= before
    assert silent.recv(1) == b""
    silent.close()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        get(f"http://{netloc}/posts?ids=1001")
    platform.close()


def test_it_ends_although_a_client_does_not_read_its_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(threading.enumerate())
    (tmp_path / "big.jpg").write_bytes(bytes(32 * 1024 * 1024))
    posts = write_posts(tmp_path, {"id": "a", "text": "", "images": ["big.jpg"]})
    with SamplePlatform(posts) as platform:
        port = int(urlsplit(platform.source).netloc.rpartition(":")[2])
        lazy = socket.create_connection(("127.0.0.1", port), 10)
        lazy.sendall(b"GET /images/0 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert lazy.recv(8) == b"HTTP/1.1"
    lazy.close()
    assert set(threading.enumerate()) <= before
    assert capfd.readouterr() == ("", "")


def test_labels_are_kept_for_the_demo_and_not_served(tmp_path: Path) -> None:
    path = write_posts(
        tmp_path,
        {"id": "a", "text": "one", "sentiment": "negative", "sarcastic": True},
        {"id": "b", "text": "two", "sentiment": "positive", "sarcastic": None},
        "",
        {"id": "c", "text": "three", "unknown": [1]},
    )
    with SamplePlatform(str(path)) as platform:
        assert platform.post_ids == ("a", "b", "c")
        assert platform.notes == {}
        assert platform.labels == {
            "a": {"sentiment": "negative", "sarcastic": True},
            "b": {"sentiment": "positive"},
        }
        for post in ask(platform, *platform.post_ids):
            assert post.keys().isdisjoint({"sentiment", "sarcastic", "about"})


def test_every_problem_of_a_file_is_listed_with_its_line(tmp_path: Path) -> None:
    path = write_posts(
        tmp_path,
        {"id": "a", "text": "fine", "images": ["not/there.jpg"]},
        "{this is not JSON",
        {"text": "no id"},
        {"id": "b"},
        "",
        {"id": "a", "text": "again"},
        {
            "id": "c",
            "text": "out",
            "images": ["../c.jpg", "/etc/passwd", "https://x.example/c.jpg"],
        },
        ["d"],
        {
            "id": 7.5,
            "text": 7,
            "images": 3,
            "author": [],
            "about": 2,
        },
        {"id": "e" * 257, "text": "", "images": [None, "a\0b"]},
        {"id": "f", "text": "", "sentiment": "happy", "sarcastic": "yes"},
        {"id": "\ud800", "text": ""},
    )
    wanted = [
        (":2:", "is not JSON"),
        (":3:", "id is missing"),
        (":4:", "'text' is missing"),
        (":6:", "stands in line 1 already"),
        (":7:", "'../c.jpg' lies outside"),
        (":7:", "'/etc/passwd' lies outside"),
        (":7:", "is a URL"),
        (":8:", "is list, not a JSON object"),
        (":9:", "id is 7.5; it must be a string"),
        (":9:", "'text' is a number"),
        (":9:", "'images' is a number"),
        (":9:", "'author' is a list"),
        (":9:", "about is 2"),
        (":10:", "has 257 bytes"),
        (":10:", "cannot be a path"),
        (":11:", f"sentiment is 'happy'; it must be one of {', '.join(SENTIMENTS)}"),
        (":11:", "sarcastic is 'yes'"),
        (":12:", "is not UTF-8"),
    ]
    problems = problems_of(path)
    assert len(problems) == len(wanted)
    for problem, (line, words) in zip(problems, wanted, strict=True):
        assert problem.startswith(line)
        assert words in problem


def test_a_long_list_of_problems_is_cut_and_says_how_many_more(tmp_path: Path) -> None:
    problems = problems_of(write_posts(tmp_path, *["nonsense"] * 30))
    assert len(problems) == 21
    assert problems[19].startswith(":20:")
    assert problems[20] == ": and 10 more"


@pytest.mark.parametrize("name", ["nowhere.jpg", ".", "nul\0l"])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="name a posts file"):
        SamplePlatform(tmp_path / name)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    assert problems_of(write_posts(tmp_path, "")) == [
        ": holds no post; write one JSON object a line"
    ]


def test_bytes_that_are_no_text_are_a_problem_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'{"id": "a", "text": ""}\n\xff\xfe\x00\n' + b"[" * 100_000 + b"\n")
    assert [problem[:3] for problem in problems_of(path)] == [":2:", ":3:"]


def test_what_is_pushed_besides_comes_after_the_posts(tmp_path: Path) -> None:
    path = write_posts(tmp_path, {"id": "a", "text": ""}, {"id": "b", "text": ""})
    pushed = tmp_path / "posts.pushed.json"
    pushed.write_text(json.dumps({"again": ["a"], "gone": ["z"]}))
    with SamplePlatform(path) as platform:
        assert platform.post_ids == ("a", "b", "a", "z")
        assert [post["id"] for post in ask(platform, *platform.post_ids)] == ["a", "b"]
    pushed.write_text(json.dumps({"again": ["z"], "gone": ["b"]}))
    assert [os.path.basename(problem) for problem in problems_of(path)] == [
        "posts.pushed.json: again: no post 'z' in the file",
        "posts.pushed.json: gone: post 'b' is in the file",
    ]
    for nonsense in ("[]", "{", '{"again": [1]}', '{"gone": "z"}'):
        pushed.write_text(nonsense)
        assert "must be" in problems_of(path)[0]
