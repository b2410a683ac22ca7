"""Checks every message on Celery's list before Celery sees it.

kombu trusts the bytes that it takes off the list: anything but JSON of the right shape raises in
its event loop and ends the worker, and the message is gone. So each message is checked where
redis-py hands it over; what Deadpan did not write is put aside, and the loop goes on as if nothing
had come.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from kombu.utils.json import loads

TASK = "deadpan.moderate"

MAX_BYTES = 64 * 1024
"""Deadpan's own messages have about 1,000."""

MAX_NAME = 512
"""Characters of an id, a queue or a host."""

PutAside = Callable[[bytes, str], None]
"""Takes a message's bytes, and what is wrong with it."""

_RUN_OTHERWISE = (
    *("callbacks", "chain", "chord", "compression"),
    *("errbacks", "eta", "expires", "group"),
)
"""Headers that make Celery do something other than judge a chunk at once; Deadpan sends none."""


class _Spoilt(Exception):
    """What is wrong with a message."""


def message_problem(raw: bytes) -> str | None:
    """Why Celery's consumer must not see this message, or None if Deadpan wrote it."""
    try:
        if len(raw) > MAX_BYTES:
            raise _Spoilt(f"it has {len(raw)} bytes, more than {MAX_BYTES}")
        message = _mapping(_json(raw, "it"), "it")
        properties = _mapping(message.get("properties"), "properties")
        _name(properties.get("delivery_tag"), "properties.delivery_tag")
        for name in ("correlation_id", "reply_to"):
            if properties.get(name) is not None:
                _name(properties[name], f"properties.{name}")
        if type(properties.get("priority", 0)) is not int:
            raise _Spoilt("properties.priority must be an integer")
        delivery = _mapping(properties.get("delivery_info"), "properties.delivery_info")
        for name in ("exchange", "routing_key"):
            _name(delivery.get(name), f"properties.delivery_info.{name}", may_be_empty=True)
        if any(isinstance(value, dict | list) for value in delivery.values()):
            raise _Spoilt("properties.delivery_info must hold names only")
        _headers(_mapping(message.get("headers"), "headers"))
        for name, expected in (("content-type", "application/json"), ("content-encoding", "utf-8")):
            if message.get(name) != expected:
                raise _Spoilt(f"{name} is {_shown(message.get(name))}, not {expected!r}")
        _body(message.get("body"), properties.get("body_encoding"))
    except _Spoilt as problem:
        return str(problem)
    return None


def stored_problem(raw: bytes) -> str | None:
    """Why kombu could not put back a message that was not acknowledged, or None if it can.

    Every Celery app on a Redis database keeps such messages in the same hash, so this asks only for
    what kombu itself needs.
    """
    try:
        stored = _json(raw, "it")
        if not isinstance(stored, list) or len(stored) != 3:
            raise _Spoilt("it must be a list of a message, an exchange and a routing key")
        message = _mapping(stored[0], "the message")
        for name in ("headers", "properties"):
            _mapping(message.get(name), name)
        if not isinstance(message["properties"].get("delivery_info", {}), dict):
            raise _Spoilt("properties.delivery_info must be an object")
        for name, value in (("exchange", stored[1]), ("routing key", stored[2])):
            _name(value, f"the {name}", may_be_empty=True)
    except _Spoilt as problem:
        return str(problem)
    return None


def guard(transport: Any, put_aside: PutAside) -> None:
    """Make the channels of a kombu transport for Redis look at messages before kombu does."""
    transport.Channel = _guarded(transport.Channel, put_aside)


def _guarded(channel_class: Any, put_aside: PutAside) -> Any:
    class QoS(channel_class.QoS):  # type: ignore[misc]
        def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
            with self.channel.conn_or_acquire(client) as connected:
                stored = connected.hget(self.unacked_key, tag)
                if stored is not None and (why := stored_problem(stored)):
                    put_aside(stored, f"kept for {_shown(tag)} until acknowledged: {why}")
                    self._remove_from_indices(tag).execute()
                    return
            super().restore_by_tag(tag, client, leftmost)

    class Channel(channel_class):  # type: ignore[misc]
        def _create_client(self, asynchronous: bool = False) -> Any:
            client = super()._create_client(asynchronous=asynchronous)
            before = client.response_callbacks["BRPOP"]

            def look(response: Any, **options: Any) -> Any:
                popped = before(response, **options)
                if popped and (why := message_problem(popped[1])):
                    put_aside(popped[1], why)
                    return None  # as when nothing came within BRPOP's time
                return popped

            client.set_response_callback("BRPOP", look)
            return client

        def basic_consume(self, queue: str, *args: Any, **more: Any) -> Any:
            consumed = super().basic_consume(queue, *args, **more)
            if queue in self.active_fanout_queues:
                # Commands to all workers (`celery control`) come by PUBLISH, not off a list.
                deliver = self.connection._callbacks[queue]
                self.connection._callbacks[queue] = _commands(deliver, put_aside)
            return consumed

    Channel.QoS = QoS
    return Channel


def _commands(deliver: Callable[[Any], Any], put_aside: PutAside) -> Callable[[Any], Any]:
    def look(command: Any) -> Any:
        try:
            properties = _mapping(_mapping(command, "it").get("properties"), "properties")
            _name(properties.get("delivery_tag"), "properties.delivery_tag")
            _mapping(properties.get("delivery_info"), "properties.delivery_info")
            _mapping(command.get("headers") or {}, "headers")
            _decoded(command.get("body"), properties.get("body_encoding"))
        except _Spoilt as problem:
            put_aside(repr(command).encode(errors="backslashreplace"), f"as a command: {problem}")
            return None
        return deliver(command)

    return look


def _headers(headers: Mapping[str, Any]) -> None:
    if headers.get("task") != TASK:
        raise _Spoilt(f"headers.task is {_shown(headers.get('task'))}, not {TASK!r}")
    _name(headers.get("id"), "headers.id")
    for name in _RUN_OTHERWISE:
        if headers.get(name):
            raise _Spoilt(f"headers.{name} is {_shown(headers[name])}; Deadpan sends none")
    for name in ("root_id", "parent_id", "shadow", "origin", "argsrepr", "kwargsrepr", "lang"):
        if headers.get(name) is not None:
            _name(headers[name], f"headers.{name}", may_be_empty=True)
    if headers.get("timelimit") not in (None, [None, None]):
        raise _Spoilt(f"headers.timelimit is {_shown(headers['timelimit'])}; Deadpan sends none")
    if headers.get("retries") and type(headers["retries"]) is not int:
        raise _Spoilt("headers.retries must be an integer")
    if headers.get("stamps") or headers.get("stamped_headers"):
        raise _Spoilt("it has stamps; Deadpan sends none")


def _body(body: Any, encoding: Any) -> None:
    """The arguments of the task: one chunk id."""
    content = _json(_decoded(body, encoding), "body")
    if not isinstance(content, list) or len(content) != 3:
        raise _Spoilt("body must be a list of arguments, named arguments and options")
    positional, named, options = content
    if not isinstance(positional, list) or not isinstance(named, dict):
        raise _Spoilt("body has no arguments")
    if not isinstance(options, dict) or any(options.get(name) for name in _RUN_OTHERWISE):
        raise _Spoilt("body asks for more than the task; Deadpan never does")
    arguments = [*positional, *named.values()]
    if len(arguments) != 1 or named.keys() - {"chunk_id"}:
        raise _Spoilt(f"body has {len(arguments)} arguments; {TASK} takes only a chunk's id")
    _name(arguments[0], "the chunk's id")


def _decoded(body: Any, encoding: Any) -> bytes:
    if not isinstance(body, str):
        raise _Spoilt("body must be text")
    try:
        if encoding == "base64":
            return base64.b64decode(body, validate=True)
        if encoding in (None, "utf-8"):
            return body.encode()
    except ValueError:
        raise _Spoilt(f"body is not {encoding or 'utf-8'}") from None
    raise _Spoilt(f"properties.body_encoding is {_shown(encoding)}; Deadpan sends 'base64'")


def _json(raw: bytes, what: str) -> Any:
    try:
        return loads(raw.decode())  # type: ignore[no-untyped-call]
    except UnicodeDecodeError:
        raise _Spoilt(f"{what} must be UTF-8") from None
    except Exception as error:  # brackets too deep, numbers too long, and kombu's own types
        reason = " ".join(str(error).split())[:100]
        raise _Spoilt(f"{what} must be JSON ({type(error).__name__}: {reason})") from None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Spoilt(f"{what} is {_shown(value)}, not an object")
    return value


def _name(value: Any, what: str, *, may_be_empty: bool = False) -> None:
    """Text that keys, logs and leases can hold: a lone surrogate, for one, cannot be written."""
    if not isinstance(value, str):
        raise _Spoilt(f"{what} is {_shown(value)}, not text")
    if not (value or may_be_empty) or len(value) > MAX_NAME or not value.isprintable():
        raise _Spoilt(f"{what} must be 1 to {MAX_NAME} printable characters: {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return ascii(value)[:60]
