"""Services with users of their own, canaries in their secrets, and messages that would run code."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

ROOT = Path(__file__).parents[2]
IDS = [f"p{n}" for n in range(20)]
CANARY = "canary-7f3a"
ROLES = ("deadpan_worker", "deadpan_housekeeping", "deadpan_console")
SECRETS = {
    name: f"{CANARY}-{name}-{'x' * 32}"
    for name in ("redis", "sql", "token", "key", "other", "oidc", "notify")
}


# it has to be base64, so the canary is put into that
CALLBACK_SECRET = "whsec_" + base64.b64encode(CANARY.encode() * 3).decode()


def rules(fence: str, number: int = 0) -> list[str]:
    """The lines of a fenced block of docs/security.md, the first of its kind or a later one."""
    found = re.findall(rf"```{fence}\n(.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    assert len(found) > number, fence
    lines: list[str] = found[number].strip().splitlines()
    return lines


@dataclass
class Guarded:
    """Services with users of their own, and what a worker said while it judged posts there."""

    url: str
    producer_url: str
    console_url: str
    plain_url: str
    database_url: str
    owner: Engine
    environment: dict[str, str]
    log: str
    denied: list[dict[Any, Any]]
    marker: Path


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.marker}",))


def crafted(marker: Path, kind: str, body: bytes) -> bytes:
    """A message for the worker as Celery's own client would write it."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary",
            "content-type": kind,
            "headers": {"lang": "py", "task": "deadpan.moderate", "id": "1", "root_id": "1"},
            "properties": {
                "correlation_id": "1",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "deadpan:celery"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": kind,
            },
        }
    ).encode()
