"""Flags that were decided, and second looks at them, as tests of reviews and appeals need them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.flags.sampling import Sampling
from storage.judging.outcomes import record
from tests.console_data import reason, verdict
from tests.console_server import ConsoleServer

REMOVE = {"action": "remove", "reason_code": "hate"}
#: What only the model and the first decision say; on no page before the vote.
TELLING = ("0.87", "0.31", "first-rule", "First rule", "mini-1", "ann", "hate speech", "secret note", "moved the score", 'class="bar', "class=\"up")  # noqa: E501 # fmt: skip


def flagged(console: ConsoleServer, post_id: str = "p1") -> int:
    sha = console.store.put(b"what a day")
    judged = verdict(
        post_id,
        author="the author",
        negative=0.87,
        sarcasm=0.31,
        reasons=[reason("first-rule", "sentiment.negative", 0.7, 0.87)],
        evidence=[{"kind": "original_text", "sha256": sha}, {"kind": "text", "sha256": sha}],
        explanation={
            "score": "sentiment.negative",
            "words": [{"start": 0, "end": 4, "word": "what", "effect": 0.4}],
        },
    )
    with transaction(console.database) as connection:
        return record(connection, verdicts=[judged]).opened_flag_ids[post_id]


def decided(console: ConsoleServer, by: str = "ann", role: str = "moderator", share: float = 1.0) -> int:  # noqa: E501 # fmt: skip
    """A flag that was decided two minutes ago."""
    number, who = flagged(console), console.person(by, role)
    said = Said("remove", reason_code="hate", note="secret note")
    with transaction(console.database) as connection:
        decisions.decide(
            connection,
            number,
            who,
            said,
            now=datetime.now(UTC) - timedelta(minutes=2),
            second_looks=Sampling(share),
        )
    return number


def disagreed(console: ConsoleServer, by: str = "ann", role: str = "moderator") -> str:
    """A look in which bob said otherwise than was decided, and its page."""
    decided(console, by, role)
    bob = console.client("bob")
    where = bob.post("/next").headers["location"]
    assert bob.post(f"{where}/vote", {"action": "approve"}).status_code == 303
    return where
