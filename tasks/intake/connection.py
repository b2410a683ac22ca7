"""The Redis that holds the intake: what it must be, its scripts, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from typing import Any, Self, cast

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from deadpan.core.errors import (
    ConfigurationError,
    QueueRefused,
    QueueStateError,
    QueueUnavailable,
    QueueUnfit,
)
from deadpan.core.redis_url import read

_SCRIPTS = ("dispatch", "take", "renew", "release", "give_back", "hand_on", "sample", "push")

_REFUSALS = (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
)
_REFUSED = re.compile(r"DB index|NOAUTH|CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER")
"""What redis-py has no class of its own for."""
_CLUSTER_ANSWERS = (AskError, ClusterCrossSlotError, ClusterDownError, MovedError)
_OF_A_CLUSTER = re.compile(r"cluster mode|CROSSSLOT|hash to the same slot|MOVED")


_CLUSTER = (
    "runs as a Redis Cluster, which cannot be used: Deadpan moves post ids between several keys at "
    "once, and a cluster keeps them on several machines; use one Redis or Valkey without cluster "
    "mode, with a replica where it must survive a machine"
)
_SENTINEL = (
    "is a Redis Sentinel, which holds no data; name the Redis that it watches, or an address that "
    "follows it"
)
_REPLICA = "is a replica and takes no writes; name the primary"


class IntakeRedis:
    """A Redis or Valkey with a prefix. Safe to use from several threads.

    Every method raises QueueUnavailable when Redis cannot be reached or refuses (QueueRefused, if
    waiting does not mend it), and QueueStateError when a key under the prefix holds something else
    than it should.

    Args:
        shown_url: its address without a password, for messages.
    """

    def __init__(
        self, client: redis.Redis, prefix: str = "deadpan", *, shown_url: str = ""
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.shown_url = shown_url
        folder = resources.files("tasks.intake") / "scripts"
        self._scripts: dict[str, Callable[..., Any]] = {
            name: client.register_script((folder / f"{name}.lua").read_text(encoding="utf-8"))
            for name in _SCRIPTS
        }

    @classmethod
    def at(cls, redis_url: str, prefix: str = "deadpan") -> Self:
        """The one at a URL: gives up on a silent server, and connects on first use."""
        try:
            url = read(redis_url)
        except ValueError as error:
            raise ConfigurationError(f"the Redis URL cannot be used: {error}") from None
        client = url.client(
            socket_timeout=10.0,
            socket_connect_timeout=5.0,
            socket_keepalive=True,
            health_check_interval=30,
        )
        return cls(client, prefix, shown_url=url.shown)

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def key(self, name: str) -> str:
        """A full Redis key."""
        return f"{self.prefix}:{name}"

    def run(self, script: str, keys: list[str], args: list[Any]) -> Any:
        """Run one of the scripts in `tasks/intake/scripts`."""
        with self.answering():
            return self._scripts[script](keys=keys, args=args)

    def put(self, name: str, value: str, *, seconds: int) -> None:
        """Keep a value under the prefix for so many seconds."""
        with self.answering():
            self.client.set(self.key(name), value, ex=seconds)

    def get(self, name: str) -> bytes | None:
        """What `put` kept, or None."""
        with self.answering():
            return cast("bytes | None", self.client.get(self.key(name)))

    def seconds_left(self, name: str) -> float:
        """For how long what `put` kept is still there; 0 when it is gone."""
        with self.answering():
            return max(0.0, self.client.pttl(self.key(name)) / 1000)

    def ping(self) -> None:
        """Raise QueueUnavailable unless Redis answers."""
        with self.answering():
            self.client.ping()

    def look(self) -> list[str]:
        """Ask Redis what it is.

        Returns:
            How it may lose what it accepted, one sentence each.

        Raises:
            QueueUnfit: it can hold no intake, whatever is asked of it.
        """
        with self.answering():
            self.client.ping()
            said = _info(self.client)
        if why := _unfit(said):
            raise QueueUnfit(f"Redis at {self.shown_url} {why}")
        if said.get("role") == "slave":
            raise QueueUnavailable(f"Redis at {self.shown_url} {_REPLICA}")
        return [f"Redis at {self.shown_url} {warning}" for warning in _unwise(said)]

    def now(self) -> int:
        """The server's clock, in seconds: those of the workers may differ."""
        with self.answering():
            return self.client.time()[0]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While it is open, redis-py's errors become ours."""
        try:
            yield
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise QueueStateError(
                    f"a Redis key under {self.prefix}: does not have the type that Deadpan needs "
                    f"({error}); give Deadpan a prefix of its own (DEADPAN_PREFIX)"
                ) from error
            if isinstance(error, _CLUSTER_ANSWERS) or _OF_A_CLUSTER.search(str(error)):
                raise QueueUnfit(f"Redis at {self.shown_url} {_CLUSTER} ({error})") from error
            kind = QueueRefused if _is_refused(error) else QueueUnavailable
            remedy = "; name a database that it has, such as 0" if "DB index" in str(error) else ""
            raise kind(f"Redis at {self.shown_url} refused: {error}{remedy}") from error
        except RedisError as error:
            if _is_refused(error):
                raise QueueRefused(
                    f"Redis at {self.shown_url} refused: {error}; check DEADPAN_REDIS_URL"
                ) from error
            raise QueueUnavailable(
                f"cannot reach Redis at {self.shown_url} ({error}); "
                "start it or set DEADPAN_REDIS_URL"
            ) from error


def _is_refused(error: RedisError) -> bool:
    return isinstance(error, _REFUSALS) or _REFUSED.search(str(error)) is not None


def _info(client: redis.Redis) -> Mapping[str, Any]:
    """What a server says of itself (INFO); nothing where its rules forbid to ask."""
    try:
        said: Mapping[str, Any] = client.info()
    except NoPermissionError:
        return {}
    except ResponseError as error:
        # Managed services forbid by renaming the command.
        if "unknown command" in str(error).lower():
            return {}
        raise
    return said


def _unfit(said: Mapping[str, Any]) -> str | None:
    """Why a server cannot hold the intake, to be read after its address; None if it can."""
    mode = str(said.get("redis_mode", said.get("server_mode", "")))
    if said.get("cluster_enabled") == 1 or mode == "cluster":
        return _CLUSTER
    return _SENTINEL if mode == "sentinel" else None


def _unwise(said: Mapping[str, Any]) -> list[str]:
    """How a server may lose what it accepted, one sentence each, to be read after its address."""
    found = []
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        found.append(
            f"has maxmemory-policy {policy}: when its memory is full it throws post ids away "
            "unjudged; set maxmemory-policy noeviction"
        )
    elif policy != "noeviction":
        found.append(
            f"has maxmemory-policy {policy}: when its memory is full it throws away what has an "
            "expiry; set maxmemory-policy noeviction, which Deadpan is made for"
        )
    if said.get("aof_enabled") == 0:
        found.append(
            "keeps no append-only file: when it crashes, post ids that were pushed since its last "
            "snapshot are lost; set appendonly yes"
        )
    return found
