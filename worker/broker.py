"""Celery's connection to Redis, opened as our own is.

kombu reads a broker's URL by rules of its own: it knows no `unix://`, and hands options that it
does not know to whom they break. So it gets the arguments that `deadpan.core.redis_url` read, and
its URL serves for messages alone.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES, redis

from deadpan.core.redis_url import RedisUrl


class Channel(redis.Channel):
    """Opens connections as the URL says; what it does not say is in `transport_options`."""

    url: ClassVar[RedisUrl]

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        arguments = self.url.arguments()
        self.connection_class = arguments.pop("connection_class")
        given: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]
        for name in ("host", "port", "username", "password"):
            given.pop(name, None)
        # kombu derives a class that tells its poller of a lost connection.
        arguments["connection_class"] = given["connection_class"]
        return self.url.fitting({**given, **arguments})


class Transport(redis.Transport):
    """kombu's own, with these channels."""

    Channel = Channel


def use(url: RedisUrl) -> str:
    """Let Celery open its connections by a Redis URL, in this process.

    Returns:
        What to give Celery as `broker_url`.
    """
    Channel.url = url
    # By the usual name, which messages and `celery inspect stats` show.
    TRANSPORT_ALIASES["redis"] = f"{__name__}:{Transport.__name__}"
    if url.scheme == "unix":
        return f"redis://{quote(url.host, safe='')}/{url.db}"
    return "redis://" + url.plain.partition("://")[2]
