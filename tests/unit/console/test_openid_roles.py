"""Roles that follow from a claim of an OpenID provider."""

from __future__ import annotations

from typing import Any

import pytest

from console.people.openid_roles import ClaimedRoles

ROLES = {"team": "moderator", "leads": "lead", "chiefs": "admin", "guests": "viewer"}


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"a": {"b": ["team", "leads", "guests"]}}, "lead"),
        ({"a": {"b": ["chiefs"]}}, "admin"),
        ({"a": {"b": "guests"}}, "viewer"),
        ({"a.b": ["team"], "a": {"b": ["chiefs"]}}, "moderator"),
        ({"a": {"b": ["Team", "team ", "other"]}}, None),
        ({"a": {"b": "team chiefs"}}, None),
        ({"a": {"b": [["chiefs"], 7, None, {"chiefs": True}]}}, None),
        ({"a": {"b": {"chiefs": True}}}, None),
        ({"a": {"b": []}}, None),
        ({"a": ["chiefs"]}, None),
        ({"a": "chiefs"}, None),
        ({"b": ["chiefs"]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_highest_that_matches_letter_by_letter_and_else_none(
    claims: dict[str, Any], role: str | None
) -> None:
    assert ClaimedRoles("a.b", ROLES).role(claims) == role


def test_a_claim_may_have_the_name_of_a_web_address() -> None:
    given = ClaimedRoles("https://x.example/roles", ROLES)
    assert given.role({"https://x.example/roles": ["leads"]}) == "lead"
