"""The policy through the JSON API: the one in use, those before it, and what another would mean."""

from __future__ import annotations

from datetime import datetime

from fastapi import Request
from pydantic import BaseModel, Field

from console.api.insight_shapes import Estimate
from console.api.parts import new_router
from console.api.shapes import Row
from console.pages.policy import DAYS, Asked, compare, known_policies
from deadpan.core.errors import ConfigurationError, NotFound
from deadpan.core.people_files import MAX_BYTES
from storage.reports.judged import Judged
from tasks.policy.what_if import Change

router = new_router()


class StoredPolicy(Row):
    """A policy that workers judged by."""

    version: str
    text: str = Field(description="TOML, as its file was written.")
    first_seen_at: datetime
    last_started_at: datetime = Field(description="When a worker last started with it.")


class Policies(BaseModel):
    """The first is in use."""

    policies: list[StoredPolicy]


class Asking(BaseModel):
    """A whole policy, or a rule of the one in use with one of the other three."""

    text: str | None = Field(None, max_length=MAX_BYTES, description="A whole policy, as TOML.")
    rule: str | None = Field(None, max_length=200)
    threshold: float | None = Field(None, description="Of the rule's first score.")
    precision: float | None = Field(None, description="At least, 0 to 1: the threshold is found.")
    flags_a_day: float | None = Field(None, description="At most: the threshold is found.")


class Outlook(Row):
    """What a policy means for moderators."""

    flags_per_day: Estimate
    queues: dict[str, float] = Field(description="Flags a day of each queue.")
    rules: dict[str, float] = Field(description="Flags a day of each rule; several may fire.")
    hours_per_day: float | None = Field(description="Of moderators; none where no pace is known.")
    precision: Estimate | None = Field(description="None where no flag was decided.")
    recall: Estimate | None = Field(description="None without looks at unflagged posts.")


class Example(BaseModel):
    """A post that only one of two policies flags."""

    post_id: str
    flag_id: int | None
    removed: bool | None = Field(description="None where nothing was decided.")


class WhatIf(BaseModel):
    """Another policy beside the one in use, of a sample of the last days."""

    days: int
    sampled: int = Field(description="Verdicts that were judged again.")
    stand_for: int = Field(description="All verdicts of the time.")
    in_use: str = Field(description="Version of the policy in use.")
    version: str = Field(description="Version of the other one.")
    text: str = Field(description="The other one, as TOML.")
    threshold: float | None = Field(description="The one that reaches the goal.")
    reached: Estimate | None = Field(description="The rule's precision or flags a day with it.")
    before: Outlook
    after: Outlook
    appear: list[Example]
    vanish: list[Example]


@router.get("/api/v1/policy")
def policy(request: Request) -> Policies:
    """Read the policy in use, and those before it."""
    known = known_policies(request)
    return Policies(policies=[StoredPolicy.model_validate(each) for each in known])


@router.post("/api/v1/policy/what-if")
def what_if(request: Request, body: Asking) -> WhatIf:
    """Judge stored verdicts of the last 30 days again by another policy. Nothing is changed."""
    known = known_policies(request)
    if not known:
        raise NotFound("no policy is known yet; a worker writes down its policy when it starts")
    compared = compare(request, known[0], _asked(body), body.text or known[0].text)
    change: Change = compared.change
    return WhatIf(
        days=DAYS,
        sampled=change.sampled,
        stand_for=change.stand_for,
        in_use=known[0].version,
        version=compared.version,
        text=compared.text,
        threshold=compared.found.threshold if compared.found else body.threshold,
        reached=Estimate.model_validate(compared.found.reached) if compared.found else None,
        before=Outlook.model_validate(change.before),
        after=Outlook.model_validate(change.after),
        appear=[_example(each) for each in change.appear],
        vanish=[_example(each) for each in change.vanish],
    )


def _asked(body: Asking) -> Asked:
    goals = {
        "threshold": body.threshold,
        "precision": None if body.precision is None else 100 * body.precision,
        "flags": body.flags_a_day,
    }
    given = {goal: value for goal, value in goals.items() if value is not None}
    if (body.text is None) == (body.rule is None) or len(given) != (body.rule is not None):
        raise ConfigurationError(
            "give text, or rule with one of threshold, precision and flags_a_day"
        )
    return Asked(body.rule or "", *(str(part) for goal in given.items() for part in goal))


def _example(each: Judged) -> Example:
    return Example(post_id=each.verdict.post_id, flag_id=each.flag_id, removed=each.removed)
