"""The demo's own posts: all kinds are there, and every picture is what it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from deadpan.demo import posts
from deadpan.demo.posts import SamplePosts, read_posts

DEMO = Path(posts.__file__).parent
IMAGES = DEMO / "images"
BROKEN = {"cut_short.jpg", "not_a_picture.jpg"}
MISSING = "receipt_long_gone.jpg"
FILES = sorted(path.name for path in IMAGES.iterdir() if path.name != "SOURCES.md")


@pytest.fixture(scope="module")
def own() -> SamplePosts:
    return read_posts(DEMO / "posts.jsonl")


def test_the_posts_are_about_forty_and_carry_a_note_but_no_labels(own: SamplePosts) -> None:
    assert 36 <= len(own.posts) <= 45
    for post in own.posts.values():
        assert post.about
        assert post.author
        assert post.created_at
        assert post.labels == {}
    assert "sentiment" not in (DEMO / "posts.jsonl").read_text()


def test_the_posts_cover_text_pictures_and_both(own: SamplePosts) -> None:
    posts = list(own.posts.values())
    assert any(post.text and not post.images for post in posts)
    assert any(post.images and not post.text for post in posts)
    assert any(post.text and len(post.images) == 1 for post in posts)
    assert any(len(post.images) >= 3 for post in posts)


@pytest.mark.parametrize(
    "kind",
    [
        "text only, sarcastic",
        "sarcastic only with the picture",
        "sarcastic, words and picture",
        "negative",
        "happy",
        "matter of fact",
        "harmless",
        "emoji",
        "Spanish",
        "German",
        "Japanese",
        "Arabic",
        "very long text",
        "cut short",
        "text file that is called .jpg",
        "404",
        "GIF",
        "WebP",
        "transparent PNG",
        "meme",
        "an id with",
    ],
)
def test_the_posts_cover(own: SamplePosts, kind: str) -> None:
    assert any(kind in (post.about or "") for post in own.posts.values())


def test_the_long_text_has_thousands_of_characters(own: SamplePosts) -> None:
    assert max(len(post.text) for post in own.posts.values()) > 3000


def test_some_ids_are_unusual_and_all_are_valid(own: SamplePosts) -> None:
    assert "post/42 ünï" in own.posts
    assert all(1 <= len(post_id.encode()) <= 256 for post_id in own.posts)


def test_some_ids_are_pushed_twice_and_some_are_gone(own: SamplePosts) -> None:
    assert own.again
    assert own.gone
    assert set(own.again) <= own.posts.keys()
    assert not set(own.gone) & own.posts.keys()


def test_every_named_picture_exists_except_the_one_that_is_meant_to_be_missing(
    own: SamplePosts,
) -> None:
    named = {image for post in own.posts.values() for image in post.images}
    assert [image.name for image in named if not image.is_file()] == [MISSING]
    assert {image.name for image in named} - {MISSING} == set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name not in BROKEN])
def test_a_picture_decodes_and_its_ending_says_its_format(name: str) -> None:
    endings = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
    with Image.open(IMAGES / name) as picture:
        picture.load()
        assert endings[str(picture.format)] == name.rpartition(".")[2]
        assert max(picture.size) <= 640


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_picture_does_not_decode(name: str) -> None:
    with pytest.raises(OSError), Image.open(IMAGES / name) as picture:  # noqa: PT011
        picture.load()


def test_the_gif_moves_and_the_stickers_are_transparent() -> None:
    with Image.open(IMAGES / "loading.gif") as loading:
        assert getattr(loading, "n_frames", 1) == 8
    for name in ("thumbs_up.png", "sticker_cat.png"):
        with Image.open(IMAGES / name) as sticker:
            assert sticker.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_the_sources_of_every_picture_are_named() -> None:
    sources = (IMAGES / "SOURCES.md").read_text()
    assert [name for name in FILES if f"| `{name}` |" not in sources] == []
    listed = [line.split("`")[1] for line in sources.splitlines() if line.startswith("| `")]
    assert sorted(listed) == FILES


def test_the_pictures_are_small_enough_to_ship() -> None:
    assert sum((IMAGES / name).stat().st_size for name in FILES) < 1_500_000


def test_the_picture_that_is_cut_short_is_the_beginning_of_the_sunset() -> None:
    whole = (IMAGES / "sunset_sea.jpg").read_bytes()
    cut = (IMAGES / "cut_short.jpg").read_bytes()
    assert whole.startswith(cut)
    words = b"This is not a picture. It only has the name of one.\n"
    assert (IMAGES / "not_a_picture.jpg").read_bytes() == words


def test_every_line_of_the_file_is_one_json_object_in_readable_characters() -> None:
    lines = (DEMO / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert any("最悪" in line for line in lines)
