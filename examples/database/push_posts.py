"""Pushes the ids that a platform's triggers recorded, from its PostgreSQL onto Redis.

    python examples/database/push_posts.py

PLATFORM_DATABASE_URL and DEADPAN_REDIS_URL say where they are. Ctrl-C stops it; several may run.
"""

from __future__ import annotations

import os
import sys
import time

import psycopg
import redis

AT_ONCE = 1000


# [snippet: push]
def push_noted(platform: psycopg.Connection, client: redis.Redis) -> int:
    """Push ids, and forget them only once Redis has them; if killed in between, push them again."""
    with platform.transaction():
        noted = platform.execute(
            "SELECT number, post_id FROM posts_to_push ORDER BY number LIMIT %s"
            " FOR UPDATE SKIP LOCKED",  # another pusher takes other rows
            (AT_ONCE,),
        ).fetchall()
        if noted:
            client.rpush("deadpan:posts", *(str(post_id) for _, post_id in noted))
            numbers = [number for number, _ in noted]
            platform.execute("DELETE FROM posts_to_push WHERE number = ANY(%s)", (numbers,))
    return len(noted)


# [end]


def main() -> None:
    client = redis.Redis.from_url(
        os.environ.get("DEADPAN_REDIS_URL", "redis://127.0.0.1:6380/0"), socket_timeout=10
    )
    while True:
        try:
            with psycopg.connect(os.environ["PLATFORM_DATABASE_URL"], autocommit=True) as platform:
                while True:
                    if push_noted(platform, client) < AT_ONCE:
                        time.sleep(0.2)
        except (psycopg.OperationalError, redis.RedisError) as error:
            print(f"retrying in a second: {error}", file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
