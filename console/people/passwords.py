"""Passwords: Argon2id, and no answer that is faster for an account that does not exist."""

from __future__ import annotations

import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from deadpan.core.errors import ConfigurationError

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 200
_hasher: Final = PasswordHasher()
# A check takes 64 MiB for some 50 ms. Guessers by the hundred must not take the machine with them.
_few_at_once: Final = threading.BoundedSemaphore(4)
_NOBODY: Final = _hasher.hash("nobody has this password")


def hashed(password: str, name: str) -> str:
    """Gives the hash of a new password.

    Raises:
        ConfigurationError: it is too short, too long, or the name.
    """
    if len(password) < MIN_CHARACTERS:
        raise ConfigurationError(
            f"the password has {len(password)} characters; use {MIN_CHARACTERS} or more, "
            "such as four unrelated words"
        )
    if len(password) > MAX_CHARACTERS:
        raise ConfigurationError(f"the password is longer than {MAX_CHARACTERS} characters")
    if name in password.lower() and len(password) < MIN_CHARACTERS + len(name):
        raise ConfigurationError("the password is little more than your name; use another")
    with _few_at_once:
        return _hasher.hash(password)


def hashed_twice(password: str, again: str, name: str) -> str:
    """Gives the hash of a new password that was typed twice.

    Raises:
        ConfigurationError: as `hashed`, or the two differ.
    """
    if password != again:
        raise ConfigurationError("the two passwords are not the same")
    return hashed(password, name)


def is_right(password: str, kept: str | None) -> bool:
    """Compares a password with its hash; takes as long when there is none."""
    with _few_at_once:
        try:
            _hasher.verify(kept or _NOBODY, password[: MAX_CHARACTERS + 1])
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None
