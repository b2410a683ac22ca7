"""Whether a Redis can hold the intake, by what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import NoPermissionError, ResponseError

CLUSTER = (
    "runs as a Redis Cluster, which cannot be used: Deadpan moves post ids between several keys at "
    "once, and a cluster keeps them on several machines; use one Redis or Valkey without cluster "
    "mode, with a replica where it must survive a machine"
)
_SENTINEL = (
    "is a Redis Sentinel, which holds no data; name the Redis that it watches, or an address that "
    "follows it"
)
REPLICA = "is a replica and takes no writes; name the primary"


def told(client: redis.Redis) -> Mapping[str, Any]:
    """What a server says of itself (INFO); nothing where its rules forbid to ask.

    Raises:
        redis.exceptions.RedisError: but for that.
    """
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


def unfit(said: Mapping[str, Any]) -> str | None:
    """Why a server cannot hold the intake, to be read after its address; None if it can.

    Args:
        said: from `told`.
    """
    mode = str(said.get("redis_mode", said.get("server_mode", "")))
    if said.get("cluster_enabled") == 1 or mode == "cluster":
        return CLUSTER
    if mode == "sentinel":
        return _SENTINEL
    return None


def is_replica(said: Mapping[str, Any]) -> bool:
    """Whether a server follows another one now; after a failover that may be over soon."""
    return said.get("role") == "slave"


def unwise(said: Mapping[str, Any]) -> list[str]:
    """How a server may lose what it accepted, one sentence each, to be read after its address.

    Args:
        said: from `told`.
    """
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
