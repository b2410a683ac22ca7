"""Every error that Deadpan raises on purpose.

    DeadpanError                    exit 1
    ├── ConfigurationError          exit 2   settings, policy, command line; all problems at once
    │   ├── SettingsError
    │   └── PolicyError
    ├── DataError                   exit 2   a file of posts, or of post ids
    ├── ModelError
    │   ├── CheckpointError         a model folder that is missing, cut short or of another version
    │   ├── NotFinite               the model gave NaN or infinity
    │   ├── OutOfMemory             not even one text or picture at a time has room
    │   ├── DeviceLost              the device that the model runs on failed
    │   └── ModelBroken             the model fails at every post; another process may do better
    ├── SourceError                 the post source answered something that is not a post
    ├── SourceUnavailable           the post source answers nothing, whatever post is asked for
    ├── ImageError                  one image could not be downloaded or decoded
    ├── QueueUnavailable            Redis cannot be reached, or refuses
    │   └── QueueRefused            a password, user or database number is wrong
    │       └── QueueUnfit          exit 2   a Redis Cluster, a Sentinel or a replica
    ├── QueueStateError             a Redis key does not hold what it should
    ├── AccessDenied                nobody is signed in, or may not do this
    ├── SignInUnavailable           the OpenID provider cannot be reached, or used
    ├── FlagConflict                another moderator was faster, or the post has changed
    ├── NotFound                    there is no such flag, moderator or token
    └── StorageError
        ├── DatabaseUnavailable     the database cannot be reached
        │   └── DatabaseRefused     a password, user, name or file is wrong
        ├── SchemaError             the database is behind or ahead of this version
        └── EvidenceUnavailable     the evidence store cannot be read or written

A message names the offending value and the remedy. Third-party exceptions that can reach a user are
mapped onto this tree where they arise.
"""

from __future__ import annotations

from collections.abc import Iterable


class DeadpanError(Exception):
    """Root of all errors that Deadpan raises on purpose; its text is meant for a user."""

    exit_code = 1


class ConfigurationError(DeadpanError):
    """Something a person wrote is wrong.

    Args:
        problems: one sentence each; all of them are shown at once.
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
    """The model gave NaN or infinity, which is no prediction."""


class OutOfMemory(ModelError):
    """Memory, of the device or of the process, does not suffice for one text or picture."""


class DeviceLost(ModelError):
    """The device that the model runs on failed; nothing mends that but another process.

    Args:
        first: whether it failed now, and not in an earlier pass.
    """

    def __init__(self, message: str, *, first: bool) -> None:
        super().__init__(message)
        self.first = first


class ModelBroken(ModelError):
    """The model, or what it runs on, fails whatever post it gets; another process may do better.

    Args:
        first: whether it broke over the posts in hand, and not before them.
    """

    def __init__(self, message: str, *, first: bool) -> None:
        super().__init__(message)
        self.first = first


class SourceError(DeadpanError):
    """The post source answered something that is not a post.

    Args:
        transient: whether the same question may be answered well later.
        retry_after_seconds: what the source itself asked for, if it did.
    """

    def __init__(
        self, message: str, *, transient: bool, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds


class SourceUnavailable(DeadpanError):
    """The post source answers nothing, whatever post is asked for.

    Args:
        wait_seconds: how long to leave it alone.
    """

    def __init__(self, message: str, *, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class ImageError(DeadpanError):
    """One image could not be downloaded or decoded.

    Args:
        transient: whether the same image may arrive well later.
        retry_after_seconds: what the host itself asked for, if it did.
    """

    def __init__(
        self, message: str, *, transient: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds


class QueueUnavailable(DeadpanError):
    """Redis cannot be reached, or refuses what was asked of it."""


class QueueRefused(QueueUnavailable):
    """Redis answers, and will not have us: waiting mends nothing, a person has to."""


class QueueUnfit(QueueRefused):
    """Redis answers, and is of a kind that cannot hold the intake."""

    exit_code = 2


class QueueStateError(DeadpanError):
    """A Redis key under the prefix does not hold what it should."""


class AccessDenied(DeadpanError):
    """Somebody is not signed in, or may not do what they asked for.

    Args:
        signed_in: whether it is known who asks.
    """

    def __init__(self, message: str, *, signed_in: bool = False) -> None:
        super().__init__(message)
        self.signed_in = signed_in


class SignInUnavailable(DeadpanError):
    """The OpenID provider cannot be reached, or answers what cannot be used."""


class FlagConflict(DeadpanError):
    """A flag is no longer what the moderator saw: taken, decided or changed meanwhile."""


class NotFound(DeadpanError):
    """There is no such flag, moderator, decision or token."""


class StorageError(DeadpanError):
    """Verdicts or evidence cannot be read or written."""


class DatabaseUnavailable(StorageError):
    """The database cannot be reached, or gave up in the middle."""


class DatabaseRefused(DatabaseUnavailable):
    """The database answers, and will not have us: waiting mends nothing, a person has to."""


class SchemaError(StorageError):
    """The database has another schema than this version of Deadpan needs."""


class EvidenceUnavailable(StorageError):
    """The evidence store cannot be read or written."""
