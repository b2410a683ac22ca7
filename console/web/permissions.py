"""Who may do what: every route of the console, in one table. A test walks it for every role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Permission:
    """What a route asks of whoever calls it.

    Attributes:
        role: the least role; None lets anybody in.
        scope: of the API token; None is a page, which a browser's session opens.
    """

    role: str | None
    scope: str | None = None


_ANYBODY = Permission(None)
_VIEWER = Permission("viewer")
_MODERATOR = Permission("moderator")
_LEAD = Permission("lead")
_ADMIN = Permission("admin")

PERMISSIONS: Final[dict[tuple[str, str], Permission]] = {
    ("GET", "/healthz"): _ANYBODY,
    ("GET", "/readyz"): _ANYBODY,
    ("GET", "/sign-in"): _ANYBODY,
    ("POST", "/sign-in"): _ANYBODY,
    ("POST", "/sign-in/link"): _ANYBODY,
    ("GET", "/sign-in/oidc"): _ANYBODY,
    ("GET", "/sign-in/oidc/callback"): _ANYBODY,
    ("POST", "/sign-out"): _VIEWER,
    # what everybody who is signed in sees
    ("GET", "/"): _VIEWER,
    ("GET", "/counts"): _VIEWER,
    ("GET", "/flags/{flag_id}"): _VIEWER,
    ("GET", "/flags/{flag_id}/thread"): _VIEWER,
    ("GET", "/flags/{flag_id}/explanation"): _VIEWER,
    ("GET", "/evidence/{sha256}"): _VIEWER,
    ("GET", "/history"): _VIEWER,
    ("GET", "/insight"): _VIEWER,
    ("GET", "/policy"): _VIEWER,
    ("GET", "/settings"): _VIEWER,
    ("POST", "/settings"): _VIEWER,
    ("POST", "/settings/password"): _VIEWER,
    ("POST", "/settings/sessions"): _VIEWER,
    # the work
    ("GET", "/author"): _MODERATOR,
    ("POST", "/next"): _MODERATOR,
    ("POST", "/flags/{flag_id}/claim"): _MODERATOR,
    ("POST", "/flags/{flag_id}/renew"): _MODERATOR,
    ("POST", "/flags/{flag_id}/release"): _MODERATOR,
    ("POST", "/flags/{flag_id}/hand-over"): _MODERATOR,
    ("POST", "/flags/{flag_id}/decide"): _MODERATOR,
    ("POST", "/flags/{flag_id}/comments"): _MODERATOR,
    ("GET", "/views"): _MODERATOR,
    ("POST", "/views"): _MODERATOR,  # shared ones by leads, as for the next
    ("POST", "/views/{view_id}/delete"): _MODERATOR,
    ("POST", "/views/{view_id}/people"): _LEAD,
    ("POST", "/decisions/{decision_id}/undo"): _MODERATOR,
    ("POST", "/bulk"): _MODERATOR,
    ("POST", "/bulk/decide"): _MODERATOR,
    ("POST", "/bulk/{batch}/undo"): _MODERATOR,
    # second looks
    ("GET", "/reviews/{review_id}"): _MODERATOR,
    ("GET", "/reviews/{review_id}/thread"): _MODERATOR,
    ("POST", "/reviews/{review_id}/vote"): _MODERATOR,
    ("POST", "/reviews/{review_id}/renew"): _MODERATOR,
    ("POST", "/reviews/{review_id}/release"): _MODERATOR,
    ("GET", "/reviews"): _LEAD,
    ("POST", "/reviews/{review_id}/claim"): _LEAD,
    ("POST", "/flags/{flag_id}/appeal"): _LEAD,
    ("POST", "/flags/{flag_id}/known-answer"): _LEAD,
    # leads look at how the work is done
    ("GET", "/recall"): _LEAD,
    ("GET", "/what-if"): _LEAD,
    ("POST", "/what-if"): _LEAD,
    ("POST", "/what-if/take"): _LEAD,
    ("GET", "/audit"): _LEAD,
    ("GET", "/audit.jsonl"): _LEAD,
    ("GET", "/decisions.jsonl"): _LEAD,
    ("GET", "/labelled-posts.zip"): _LEAD,
    # admins say who may sign in
    ("GET", "/moderators"): _ADMIN,
    ("POST", "/moderators"): _ADMIN,
    ("POST", "/moderators/{name}/role"): _ADMIN,
    ("POST", "/moderators/{name}/access"): _ADMIN,
    ("POST", "/moderators/{name}/link"): _ADMIN,
    ("POST", "/moderators/{name}/email"): _ADMIN,
    ("POST", "/moderators/{name}/identity/forget"): _ADMIN,
    ("POST", "/tokens"): _ADMIN,
    ("POST", "/tokens/{token_id}/revoke"): _ADMIN,
    ("GET", "/erasure"): _ADMIN,
    ("POST", "/erasure/preview"): _ADMIN,
    ("POST", "/erasure"): _ADMIN,
    # the API
    ("GET", "/api/v1/openapi.json"): _ANYBODY,
    ("POST", "/api/v1/posts"): Permission("moderator", "posts:write"),
    ("GET", "/api/v1/verdicts/{post_id:path}"): Permission("viewer", "verdicts:read"),
    ("GET", "/api/v1/flags"): Permission("viewer", "flags:read"),
    ("GET", "/api/v1/flags/{flag_id}"): Permission("viewer", "flags:read"),
    ("GET", "/api/v1/flags/{flag_id}/comments"): Permission("viewer", "flags:read"),
    ("POST", "/api/v1/flags/{flag_id}/comments"): Permission("moderator", "flags:decide"),
    ("GET", "/api/v1/views"): Permission("moderator", "flags:read"),
    ("POST", "/api/v1/views"): Permission("moderator", "flags:decide"),
    ("DELETE", "/api/v1/views/{view_id}"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/views/{view_id}/people"): Permission("lead", "flags:decide"),
    ("GET", "/api/v1/backlog"): Permission("viewer", "flags:read"),
    ("GET", "/api/v1/flags/{flag_id}/thread"): Permission("viewer", "flags:read"),
    ("GET", "/api/v1/author"): Permission("moderator", "flags:read"),
    ("GET", "/api/v1/decisions"): Permission("viewer", "flags:read"),
    ("POST", "/api/v1/claim-next"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/flags/{flag_id}/claim"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/flags/{flag_id}/renew"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/flags/{flag_id}/release"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/flags/{flag_id}/decision"): Permission("moderator", "flags:decide"),
    ("POST", "/api/v1/decisions/{decision_id}/undo"): Permission("moderator", "flags:decide"),
    ("GET", "/api/v1/dead-letters"): Permission("viewer", "dead-letters:read"),
    ("POST", "/api/v1/dead-letters/{letter_id}/replay"): Permission("lead", "dead-letters:replay"),
    ("POST", "/api/v1/flags/{flag_id}/appeal"): Permission("moderator", "flags:appeal"),
    ("GET", "/api/v1/reviews"): Permission("moderator", "reviews:vote"),
    ("POST", "/api/v1/claim-next-review"): Permission("moderator", "reviews:vote"),
    ("GET", "/api/v1/reviews/{review_id}"): Permission("moderator", "reviews:vote"),
    ("POST", "/api/v1/reviews/{review_id}/vote"): Permission("moderator", "reviews:vote"),
    ("POST", "/api/v1/reviews/{review_id}/renew"): Permission("moderator", "reviews:vote"),
    ("POST", "/api/v1/reviews/{review_id}/release"): Permission("moderator", "reviews:vote"),
    ("GET", "/api/v1/agreement"): Permission("lead", "agreement:read"),
    ("GET", "/api/v1/insight"): Permission("lead", "agreement:read"),
    ("GET", "/api/v1/audit"): Permission("lead", "audit:read"),
    ("GET", "/api/v1/policy"): Permission("viewer", "flags:read"),
    ("POST", "/api/v1/policy/what-if"): Permission("lead", "agreement:read"),
    # for KEDA and Prometheus
    ("GET", "/api/v1/scaling"): Permission("viewer", "scaling:read"),
    ("GET", "/metrics"): Permission("viewer", "metrics:read"),
}
