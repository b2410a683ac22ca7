"""What fields of a post hold, as sources, labelled files and the demo read them."""

from __future__ import annotations

import pytest

from deadpan.core.post_fields import WrongFieldError, read_author, read_id, read_images, read_text


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "  \n", [], {}, False, [""], [None], ["", None, " "], [False], "[]"),
        *({"url": None}, {"url": ""}, [{"url": None}], [{}], {"0": ""}),
    ],
)
def test_no_picture_is_no_picture(value: object) -> None:
    assert read_images(value) == ()


@pytest.mark.parametrize(
    "value",
    [
        "/a.png",
        " /a.png\n",
        ["/a.png"],
        ("/a.png",),
        [None, "", "/a.png", " "],
        {"url": "/a.png"},
        {"src": "/a.png", "width": 10},
        [{"type": "image", "href": "/a.png"}],
        {"0": "/a.png"},
        {"2": {"url": "/a.png"}},
        '["/a.png"]',
        ' [null, "/a.png"]',
        '{"url": "/a.png"}',
    ],
)
def test_one_picture_is_one_picture_however_it_is_written(value: object) -> None:
    assert read_images(value) == ("/a.png",)


def test_pictures_keep_their_order_and_have_an_end() -> None:
    assert read_images({"1": "b", "3": "a"}) == ("b", "a")
    assert len(read_images(["x", ""] * 5000)) == 100


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "is a number"),
        (True, "is true or false"),
        ([1], "holds a number"),
        ([["a"]], "holds a list"),
        ({"thumbnail": "a"}, "is an object"),
        ({"url": "a", "src": "b"}, "is an object"),
        ([{"url": 5}], "holds an object"),
    ],
)
def test_what_is_no_picture_and_not_nothing_is_said(value: object, words: str) -> None:
    with pytest.raises(WrongFieldError, match=f"'images' {words}, not addresses of pictures"):
        read_images(value)


def test_ids_texts_and_authors() -> None:
    assert [read_id(value) for value in (7, "7", "", None, True, 7.0, [])] == [
        *("7", "7"),
        *[None] * 5,
    ]
    assert read_text(None) == ""
    assert read_author(7) == "7"
    assert read_author(None) is None
    with pytest.raises(WrongFieldError, match="'text' is a number, not a string"):
        read_text(5)
