"""Where Deadpan keeps what it works with: Redis, its database and the evidence."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from deadpan.core import redis_url
from deadpan.core.settings.kinds import Group


class Stores(Group):
    """Redis, the database and the evidence."""

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey for the intake and Celery's messages: redis://HOST:PORT/DB, rediss://… for
    TLS, or unix:///PATH?db=DB."""
    prefix: str = Field("deadpan", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """First part of every Redis key; the intake is PREFIX:posts."""
    database_url: SecretStr = SecretStr("sqlite:///deadpan.db")
    """Where verdicts and flags are stored: sqlite:///PATH or postgresql://…"""
    evidence_url: str = "evidence"
    """Where the evidence of flagged posts is kept: a folder or any fsspec URL."""

    @field_validator("redis_url")
    @classmethod
    def _a_redis_url(cls, value: SecretStr) -> SecretStr:
        redis_url.read(value.get_secret_value())
        return value
