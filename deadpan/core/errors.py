"""Every error that Deadpan raises on purpose.

    DeadpanError                    exit 1
    ├── ConfigurationError          exit 2   settings, policy, command line; all problems at once
    │   ├── SettingsError
    │   ├── PolicyError
    │   └── DataError                        a file of posts or of post ids
    ├── ModelError
    │   ├── CheckpointError
    │   ├── NotFinite
    │   ├── OutOfMemory
    │   ├── DeviceLost
    │   └── ModelBroken
    ├── SourceError
    ├── SourceUnavailable
    ├── ImageError
    ├── QueueUnavailable
    │   └── QueueRefused
    │       └── QueueUnfit          exit 2
    ├── QueueStateError
    ├── AccessDenied
    ├── SignInUnavailable
    ├── FlagConflict
    ├── NotFound
    └── StorageError
        ├── DatabaseUnavailable
        │   └── DatabaseRefused
        ├── SchemaError
        └── EvidenceUnavailable

A message names the offending value and the remedy. Third-party exceptions that can reach a user are
mapped onto this tree where they arise.
"""

from __future__ import annotations

from collections.abc import Iterable


class DeadpanError(Exception):
    """Root of all errors that Deadpan raises on purpose; its text is meant for a user."""

    exit_code = 1


class ConfigurationError(DeadpanError):
    """A setting, file or command line is wrong.

    Args:
        problems: one sentence each; all are shown at once.
    """

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class SettingsError(ConfigurationError):
    """A DEADPAN_* environment variable has no usable value."""


class PolicyError(ConfigurationError):
    """The policy file is not valid."""


class DataError(ConfigurationError):
    """A file of posts or of post ids is not valid; each problem names the file and the line."""


class ModelError(DeadpanError):
    """The model cannot do what was asked."""


class CheckpointError(ModelError):
    """A model folder is missing, cut short, altered or of another version."""


class NotFinite(ModelError):
    """The model returned NaN or infinity."""


class OutOfMemory(ModelError):
    """Not even one text or picture at a time fits into memory."""


class _ModelFailure(ModelError):
    """The model cannot go on in this process.

    Args:
        first: whether it failed over the posts in hand, and not in an earlier pass.
    """

    def __init__(self, message: str, *, first: bool) -> None:
        super().__init__(message)
        self.first = first


class DeviceLost(_ModelFailure):
    """The device that the model runs on failed; only another process can help."""


class ModelBroken(_ModelFailure):
    """The model, or what it runs on, fails whatever post it gets; another process may do better."""


class _FetchError(DeadpanError):
    """A post or image could not be fetched.

    Args:
        transient: whether the same request may succeed later.
        retry_after_seconds: what the other side asked for, if it did.
    """

    def __init__(
        self, message: str, *, transient: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds


class SourceError(_FetchError):
    """The post source returned something that is not a post."""


class SourceUnavailable(DeadpanError):
    """The post source does not respond, whatever post is asked for.

    Args:
        wait_seconds: how long to leave it alone.
    """

    def __init__(self, message: str, *, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class ImageError(_FetchError):
    """One image could not be downloaded or decoded."""


class QueueUnavailable(DeadpanError):
    """Redis cannot be reached, or refuses a command."""


class QueueRefused(QueueUnavailable):
    """Redis rejects our password, user or database number; waiting does not help."""


class QueueUnfit(QueueRefused):
    """Redis is a cluster, a Sentinel or a replica, which cannot hold the intake."""

    exit_code = 2


class QueueStateError(DeadpanError):
    """A Redis key under the prefix does not hold what it should."""


class AccessDenied(DeadpanError):
    """Somebody is not signed in, or lacks permission.

    Args:
        signed_in: whether it is known who asked.
    """

    def __init__(self, message: str, *, signed_in: bool = False) -> None:
        super().__init__(message)
        self.signed_in = signed_in


class SignInUnavailable(DeadpanError):
    """The OpenID provider cannot be reached, or its response cannot be used."""


class FlagConflict(DeadpanError):
    """A flag was claimed, decided or changed since the moderator saw it."""


class NotFound(DeadpanError):
    """There is no such flag, moderator, decision or token."""


class StorageError(DeadpanError):
    """Verdicts or evidence cannot be read or written."""


class DatabaseUnavailable(StorageError):
    """The database cannot be reached, or failed in the middle."""


class DatabaseRefused(DatabaseUnavailable):
    """The database rejects our password, user, name or file; waiting does not help."""


class SchemaError(StorageError):
    """The database's schema is not the one this version of Deadpan needs."""


class EvidenceUnavailable(StorageError):
    """The evidence store cannot be read or written."""
