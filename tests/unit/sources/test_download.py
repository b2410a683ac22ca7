"""Images from hosts that mean well, are broken, or are hostile."""

from __future__ import annotations

import dataclasses
import gzip
import socket

import pytest

from sources.pictures.allowed import ImageLimits
from sources.pictures.download import ImageDownloader
from sources.post import FetchedImage, Post
from tests.unit.sources.downloads import completed_posts, downloaded
from tests.unit.sources.source_server import PNG, Handler, Server


def test_an_image_arrives_as_it_was_sent(server: Server, downloader: ImageDownloader) -> None:
    server.answer = lambda handler: handler.reply(200, PNG, Content_Type="text/html")
    image = downloader.download(f"{server.url}/a.png")
    assert image == FetchedImage(f"{server.url}/a.png", content=PNG)
    assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_a_compressed_image_is_decompressed(server: Server, downloader: ImageDownloader) -> None:
    packed = gzip.compress(PNG)
    server.answer = lambda handler: handler.reply(200, packed, Content_Encoding="gzip")
    assert downloader.download(server.url).content == PNG


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_an_image_that_is_not_there_for_us_is_not_tried_again(
    server: Server, downloader: ImageDownloader, status: int
) -> None:
    server.answer = lambda handler: handler.reply(status)
    image = downloader.download(server.url)
    assert str(status) in (image.problem or "")
    assert not image.transient


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_host_in_trouble_is_tried_again(
    server: Server, downloader: ImageDownloader, status: int
) -> None:
    server.answer = lambda handler: (
        handler.reply(status) if len(server.seen) == 1 else handler.reply(200, PNG)
    )
    assert downloader.download(server.url).content == PNG
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_image_that_a_host_in_trouble_has_may_be_looked_for_later(
    server: Server, downloader: ImageDownloader, status: int
) -> None:
    server.answer = lambda handler: handler.reply(status)
    image = downloader.download(server.url)
    assert str(status) in (image.problem or "")
    assert image.transient
    assert len(server.seen) == 3, "few tries"


def test_a_host_that_refuses_connections_is_tried_again(limits: ImageLimits) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        image = downloaded(f"http://127.0.0.1:{reserved.getsockname()[1]}/", limits)
    assert image.problem == "the image host refused the connection"
    assert image.transient


def test_redirects_are_followed_up_to_a_number(server: Server, downloader: ImageDownloader) -> None:
    def answer(handler: Handler) -> None:
        left = int(handler.path[1:])
        if left:
            handler.reply(302, Location=f"/{left - 1}")
        else:
            handler.reply(200, PNG)

    server.answer = answer
    assert downloader.download(f"{server.url}/3").content == PNG
    assert "more than 3 times" in (downloader.download(f"{server.url}/4").problem or "")
    assert len({seen.port for seen in server.seen}) == 1


def test_a_redirect_with_an_endless_body_is_not_read(
    server: Server, downloader: ImageDownloader
) -> None:
    def answer(handler: Handler) -> None:
        if handler.path == "/end":
            handler.reply(200, PNG)
        else:
            handler.reply(302, Location="/end", Transfer_Encoding="chunked")
            while not server.ended.is_set():
                handler.wfile.write(b"10000\r\n" + b"0" * 65536 + b"\r\n")

    server.answer = answer
    assert downloader.download(server.url).content == PNG


def endless(handler: Handler) -> None:
    handler.reply(200, Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"10000\r\n" + b"0" * 65536 + b"\r\n")


def endless_chunk_of_no_size(handler: Handler) -> None:
    handler.reply(200, b"-1\r\n", Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"0" * 65536)


def too_long_announced(handler: Handler) -> None:
    handler.reply(200, b"0", Content_Length=str(10**12))


def gzip_bomb(handler: Handler) -> None:
    handler.reply(200, gzip.compress(bytes(64 * 1024 * 1024)), Content_Encoding="gzip")


def gzip_bomb_in_gzip(handler: Handler) -> None:
    bomb = gzip.compress(gzip.compress(bytes(64 * 1024 * 1024)))
    handler.reply(200, bomb, Content_Encoding="gzip, gzip")


@pytest.mark.parametrize(
    "answer", [endless, endless_chunk_of_no_size, too_long_announced, gzip_bomb, gzip_bomb_in_gzip]
)
def test_an_image_larger_than_allowed_is_given_up(
    server: Server, limits: ImageLimits, answer: object
) -> None:
    server.answer = answer  # type: ignore[assignment]
    image = downloaded(server.url, dataclasses.replace(limits, max_bytes=1024 * 1024))
    assert image.problem == "the image is larger than 1048576 bytes"
    assert not image.transient


def test_an_image_of_exactly_the_allowed_size_is_taken(server: Server, limits: ImageLimits) -> None:
    server.answer = lambda handler: handler.reply(200, b"0" * 1000)
    assert downloaded(server.url, dataclasses.replace(limits, max_bytes=1000)).content is not None
    assert downloaded(server.url, dataclasses.replace(limits, max_bytes=999)).content is None


def drip_body(handler: Handler) -> None:
    handler.reply(200, Content_Length="1000")
    drip(handler)


def drip_chunks(handler: Handler) -> None:
    handler.reply(200, Transfer_Encoding="chunked")
    drip(handler, b"1\r\n0\r\n")


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    drip(handler)


def drip(handler: Handler, piece: bytes = b"0") -> None:
    while not handler.server.here.ended.wait(0.02):
        handler.wfile.write(piece)


def silence(handler: Handler) -> None:
    handler.server.here.ended.wait(20)


@pytest.mark.parametrize("answer", [drip_body, drip_chunks, drip_headers, silence])
def test_a_host_that_drips_or_is_silent_ends_as_a_timeout(
    server: Server, limits: ImageLimits, answer: object
) -> None:
    server.answer = answer  # type: ignore[assignment]
    image = downloaded(server.url, dataclasses.replace(limits, timeout_seconds=0.2))
    assert "in time" in (image.problem or "")
    assert image.transient


def half_by_length(handler: Handler) -> None:
    handler.reply(200, PNG, Content_Length=str(len(PNG) + 1))
    handler.close_connection = True


def half_by_chunk(handler: Handler) -> None:
    handler.reply(200, b"64\r\n" + PNG[:10], Transfer_Encoding="chunked")
    handler.close_connection = True


def nothing_at_all(handler: Handler) -> None:
    handler.close_connection = True


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"+PONG\r\n")
    handler.close_connection = True


def broken_gzip(handler: Handler) -> None:
    handler.reply(200, b"this is not gzip", Content_Encoding="gzip")


@pytest.mark.parametrize(
    "answer", [half_by_length, half_by_chunk, nothing_at_all, no_http, broken_gzip]
)
def test_an_answer_cut_short_or_garbled_is_tried_again(
    server: Server, downloader: ImageDownloader, answer: object
) -> None:
    server.answer = answer  # type: ignore[assignment]
    image = downloader.download(server.url)
    assert image.content is None
    assert image.problem is not None
    assert image.transient


def test_an_empty_image_is_no_image(server: Server, downloader: ImageDownloader) -> None:
    server.answer = lambda handler: handler.reply(200)
    assert downloader.download(server.url).problem == "the image host sent nothing"


def test_cookies_are_not_kept_and_proxies_of_the_environment_not_used(
    server: Server, downloader: ImageDownloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answer = lambda handler: handler.reply(200, PNG, Set_Cookie="a=1; Path=/")
    for _ in range(2):
        assert downloader.download(server.url).content == PNG
    assert all("cookie" not in seen.headers for seen in server.seen)
    assert len({seen.port for seen in server.seen}) == 1


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    server: Server, downloader: ImageDownloader
) -> None:
    def answer(handler: Handler) -> None:
        if len(server.seen) != 2:
            handler.reply(200, PNG)
        handler.close_connection = len(server.seen) == 2  # says nothing, hangs up

    server.answer = answer
    assert downloader.download(server.url).content == PNG
    assert downloader.download(server.url).content == PNG
    assert len(server.seen) == 3


def test_one_address_in_several_posts_is_downloaded_once(
    server: Server, downloader: ImageDownloader
) -> None:
    server.answer = lambda handler: handler.reply(200, handler.path.encode())
    url = f"{server.url}/same"
    first, second = completed_posts(
        downloader, [Post("1", "", (url, f"{server.url}/other", url)), Post("2", "", (url,))]
    )
    assert [image.content for image in first.images] == [b"/same", b"/other", b"/same"]
    assert [image.content for image in second.images] == [b"/same"]
    assert sorted(server.paths) == ["/other", "/same"]


def test_images_beyond_the_limit_say_so_and_are_not_downloaded(
    server: Server, limits: ImageLimits
) -> None:
    server.answer = lambda handler: handler.reply(200, PNG)
    made = ImageDownloader(dataclasses.replace(limits, max_images=2), threads=2)
    urls = tuple(f"{server.url}/{number}" for number in range(4))
    (fetched,) = completed_posts(made, [Post("1", "", urls)])
    made.close()
    assert [image.location for image in fetched.images] == list(urls)
    assert [image.content for image in fetched.images] == [PNG, PNG, None, None]
    assert fetched.images[3].problem == "only the first 2 images of a post are used"
    assert sorted(server.paths) == ["/0", "/1"]


def test_the_images_of_one_fetch_share_a_limit(server: Server, limits: ImageLimits) -> None:
    server.answer = lambda handler: handler.reply(200, b"0" * 1000)
    made = ImageDownloader(dataclasses.replace(limits, max_fetch_bytes=2500), threads=1)
    urls = tuple(f"{server.url}/{number}" for number in range(3))
    (fetched,) = completed_posts(made, [Post("1", "", urls)])
    made.close()
    assert [image.content is None for image in fetched.images] == [False, False, True]
    assert fetched.images[2].transient
