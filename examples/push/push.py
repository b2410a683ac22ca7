"""Push a post id with redis-py (`pip install redis`): `python push.py ID [TRACEPARENT]`."""

import os
import sys

import redis


# [snippet: push]
def push(
    client: redis.Redis, post_id: str, *, list_name: str = "deadpan:posts", traceparent: str = ""
) -> None:
    """Have a post judged; with a traceparent, as part of that trace."""
    client.rpush(list_name, f"{post_id}\t{traceparent}" if traceparent else post_id)


# [end]

if __name__ == "__main__":
    url = os.environ.get("DEADPAN_REDIS_URL", "redis://127.0.0.1:6380/0")
    push(redis.Redis.from_url(url), sys.argv[1], traceparent="".join(sys.argv[2:]))
