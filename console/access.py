"""Who may see the console: whoever holds a token that was signed with DEADPAN_SECRET_KEY."""

from __future__ import annotations

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from deadpan.errors import DeadpanError

VALID_SECONDS = 12 * 3600
"""A token is good for a shift; afterwards a new sign-in link is needed."""


class AccessDenied(DeadpanError):
    """No token, a wrong one, or an old one."""


def _serializer(secret_key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret_key, salt="deadpan.console")


def make_token(secret_key: str) -> str:
    """A token for the sign-in link and for `Authorization: Bearer`, good for `VALID_SECONDS`."""
    return _serializer(secret_key).dumps("console")


def sign_in_link(secret_key: str, base_url: str) -> str:
    """A link that opens the console."""
    return f"{base_url}/sign-in?token={make_token(secret_key)}"


def check_token(secret_key: str, token: str | None) -> None:
    """Accept a token.

    Raises:
        AccessDenied: with what to do about it.
    """
    if not token:
        raise AccessDenied("sign in with the link that `deadpan console` prints")
    try:
        _serializer(secret_key).loads(token, max_age=VALID_SECONDS)
    except SignatureExpired:
        raise AccessDenied(
            "this link is older than 12 hours; start `deadpan console` again for a new one"
        ) from None
    except BadSignature:
        raise AccessDenied("this token was not signed by this console") from None
