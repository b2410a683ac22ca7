"""Which posts that no rule flagged a moderator looks at all the same, to find what is missed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from deadpan.core.errors import ConfigurationError
from tasks.policy.rules import Policy

#: Near a rule's threshold posts are drawn so many times as often: (shortfall below, times). What
#: is missed lies there more often than elsewhere, so each look tells more.
NEARER: Final = ((0.05, 20.0), (0.15, 5.0))
#: With looks on, the share of flags that are shown without why, as looks are. Among about 1 flag in
#: 100 posts and 1 look in 1,000, a post shown like that is a flag about one time in three.
BLIND_FLAGS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Look:
    """A post to be looked at although no rule fired.

    Attributes:
        queue, priority, decide_within_seconds: of the rule that was nearest to firing, so that it
            waits like its flags.
        inclusion: the probability with which such a post is drawn.
    """

    queue: str
    priority: int
    inclusion: float
    decide_within_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Looks:
    """Draws posts by a keyed hash of their ids: after a crash the same ones, and nobody can tell
    beforehand which without the key, which is secret and the same for every worker.

    Args:
        share: of unflagged posts, from 0 to 1; up to 20 times as many near a threshold.

    Raises:
        ConfigurationError: a share without a key.
    """

    share: float = 0.0
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.share and not self.key:
            raise ConfigurationError(
                f"DEADPAN_AUDIT_SHARE is {self.share:g} and DEADPAN_SECRET_KEY is not set; set it "
                "for workers too, to what the console has, or set DEADPAN_AUDIT_SHARE to 0"
            )

    def draw(
        self,
        post_id: str,
        policy: Policy,
        scores: Mapping[str, float],
        language: str | None = None,
    ) -> Look | None:
        """A look at a post that no rule of this policy flags, if it is drawn."""
        if not self.share or not policy.rules:
            return None
        near = [(rule.shortfall(scores, language), -rule.priority, rule) for rule in policy.rules]
        shortfall, _, rule = min(near, key=lambda each: each[:2])
        inclusion = min(1.0, self.share * _times(shortfall))
        if self._number("look", post_id) >= inclusion:
            return None
        promised = rule.decide_within or policy.queue_promises.get(rule.queue)
        return Look(rule.queue, rule.priority, inclusion, promised)

    def blinds(self, post_id: str) -> bool:
        """Whether a flag of this post is shown as looks are."""
        return bool(self.share) and self._number("blind", post_id) < BLIND_FLAGS

    def _number(self, what: str, post_id: str) -> float:
        """From 0 to 1, the same for the same post whenever it is judged."""
        said = f"{what} {post_id}".encode("utf-8", "surrogatepass")
        digest = hmac.new(self.key.encode(), said, hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def _times(shortfall: float) -> float:
    return next((times for below, times in NEARER if shortfall < below), 1.0)
