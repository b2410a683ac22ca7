"""Names as long as they may be: of posts, authors, queues, rules, people, and notes of one word."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from storage.base.database import transaction
from storage.flags import decisions
from storage.flags.decisions import Said
from storage.judging.evidence import EvidenceStore
from storage.keeping import erasure
from storage.people import moderators, tokens
from storage.people.moderators import Moderator
from storage.reviews import second_looks
from tests.browser.posts import judged
from tests.console_data import reason

#: As posts are named by ActivityPub; 78 characters.
ACTIVITY: Final = "https://mastodon.example.social/users/somebody_else/statuses/11250123456789012"
#: Without a place to break it, and as long as an id may be.
UNBROKEN: Final = "a1B2" * 64
QUEUE: Final = "queue-of-everything-that-was-ever-said-against-the-house-rules-x"
RULE: Final = "a-rule-whose-name-says-all-of-what-it-is-for_" + "w" * 55
PERSON: Final = "w" * 64
NOTE: Final = "noteworthy" * 40
QUOTED: Final = "He wrote this before, twice: see the flags of last week. " * 12


def fill_long(database: Engine, store: EvidenceStore, me: Moderator) -> dict[str, str]:
    """Write posts, decisions, people, tokens and receipts with long names.

    Args:
        me: whoever looks at the pages; they hold a second look and a flag.

    Returns:
        paths by what they show.
    """
    why = [reason(RULE, "sentiment.negative", 0.6, 0.8), reason("sarcastic", "sarcasm", 0.7, 0.9)]
    pictures = ["burnt_pizza.jpg", "desk.jpg", "fireworks.webp", "sunset_sea.jpg"]
    flags: list[int] = []
    for number, post_id in enumerate(
        (ACTIVITY, UNBROKEN, *(f"{UNBROKEN[:-2]}{n}" for n in range(10, 18)))
    ):
        flags.append(
            judged(
                database,
                store,
                post_id,
                UNBROKEN if number % 2 else "Nothing to see here, move along. " * 9,
                pictures if number % 3 == 0 else [],
                queue=QUEUE,
                priority=100 if number == 1 else 70,
                reasons=why,
                author=UNBROKEN[::-1] if number % 2 else ACTIVITY.replace("statuses", "authors"),
                degraded=[{"image": 7, "location": "x", "problem": UNBROKEN}],
            )
        )
    with transaction(database) as connection:
        ann = moderators.add(
            connection, PERSON, "moderator", actor="test", email=f"{'e' * 60}@{'long' * 15}.example"
        )
        other = moderators.add(connection, f"{PERSON[:-1]}x", "lead", actor="test")
        for flag_id, action, note in zip(
            flags[2:8],
            ("remove", "approve", "escalate", "skip", "remove", "remove"),
            (NOTE, QUOTED, NOTE, None, QUOTED, NOTE),
            strict=True,
        ):
            decisions.decide(connection, flag_id, ann, Said(action, "hate", note))
        tokens.make(
            connection, ann, "t" * 100, ("flags:read", "flags:decide", "posts:write"), actor="test"
        )
        second_looks.appeal(connection, flags[2], actor=other, why=NOTE)
        look = second_looks.appeal(connection, flags[6], actor=other, why=QUOTED)
        second_looks.take(connection, look.id, me, claim_seconds=300)
        erasure.erase(connection, "post", f"{UNBROKEN[:-2]}99", requested_by=PERSON)
    return {
        "long queue": f"/?queue={QUEUE}",
        "long search": f"/?post={UNBROKEN}",
        "long author": f"/?author={UNBROKEN[::-1]}&rule={RULE}",
        "wrong filters": f"/?negative={UNBROKEN}&language=german&age=2w&rule={RULE}&state=x",
        "beaten": f"/flags/1?missed={flags[8]}",
        "long decided": "/?state=decided",
        "long flag": f"/flags/{flags[0]}",
        "unbroken flag": f"/flags/{flags[1]}",
        "decided flag": f"/flags/{flags[3]}",
        "escalated flag": f"/flags/{flags[4]}",
        "second look": f"/reviews/{look.id}",
    }
