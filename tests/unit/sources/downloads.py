"""What tests of downloads share: names that lead where a test says, and one download."""

from __future__ import annotations

import socket

import pytest

from sources.pictures.allowed import ImageLimits
from sources.pictures.awaited import AwaitedPost, completed
from sources.pictures.download import ImageDownloader
from sources.post import FetchedImage, FetchedPost, Post


def downloaded(url: str, limits: ImageLimits) -> FetchedImage:
    made = ImageDownloader(limits, threads=1)
    try:
        return made.download(url)
    finally:
        made.close()


def completed_posts(downloader: ImageDownloader, posts: list[Post]) -> list[FetchedPost]:
    """Posts, each with at least one image, once their images are there."""
    begun = downloader.begin(posts)
    return completed([post for post in begun if isinstance(post, AwaitedPost)])


def answer_for(patch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Answer name lookups from a table; a name's addresses are used up one lookup each."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        answers = names[host][asked.count(host) - 1]
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port))
            for each in answers.split()
        ]

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
