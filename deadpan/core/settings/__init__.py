"""Settings: every DEADPAN_* environment variable, its type, its default and its meaning.

Each group of them has a module of its own here. They are read once, by whatever starts a process;
functions take values, not settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import ValidationError

from deadpan.core.errors import SettingsError
from deadpan.core.settings.callbacks import Callbacks, signing_secrets
from deadpan.core.settings.console import Console
from deadpan.core.settings.kinds import Group, Network
from deadpan.core.settings.model import Model, cache_folder
from deadpan.core.settings.notifications import Notifications
from deadpan.core.settings.observability import Observability
from deadpan.core.settings.retention import Retention
from deadpan.core.settings.shown import is_secret, shown, type_name, without_password
from deadpan.core.settings.source import Source
from deadpan.core.settings.stores import Stores
from deadpan.core.settings.worker import Autoscaling, Worker

__all__ = [
    "PREFIX",
    "Network",
    "Settings",
    "cache_folder",
    "describe",
    "is_secret",
    "load",
    "signing_secrets",
    "without_password",
]

PREFIX = "DEADPAN_"
_REMOVED = {
    "DEADPAN_REASON_CODES": "reason codes are part of the policy now; write them into the file of "
    "DEADPAN_POLICY, as the table [reason_codes]",
}


class Settings(
    Stores,
    Source,
    Model,
    Worker,
    Autoscaling,
    Callbacks,
    Notifications,
    Retention,
    Console,
    Observability,
):
    """What the environment says."""


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. An empty variable counts as not set.

    Args:
        environment: variables to read instead of the process's own.

    Raises:
        SettingsError: with every variable that has no usable value, its value and what is allowed.
    """
    said = os.environ if environment is None else environment
    # Small letters do as well; the name in capitals counts where there are both.
    variables = {name.upper(): value for name, value in said.items()} | dict(said)
    if gone := [f"{name}: {why}" for name, why in _REMOVED.items() if variables.get(name)]:
        raise SettingsError(gone)
    given = {
        # Files of secrets end with a line break, and some begin with a byte order mark.
        name: value.strip().removeprefix("\ufeff").strip()
        for name in Settings.model_fields
        if (value := variables.get(PREFIX + name.upper()))
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:
            problems.append(message)
            continue
        name, *within = map(str, item["loc"])
        value = "(hidden)" if is_secret(Settings.model_fields[name]) else repr(item["input"])
        of = f" of {within[0]!r}" if within and not within[0].isdigit() else ""
        problems.append(f"{PREFIX}{name.upper()} is {value}{of}: {message}")
    return problems


def describe(settings: Settings) -> list[dict[str, str]]:
    """Every setting as a row: variable, value, default, type and meaning. Secrets are masked."""
    return [
        {
            "variable": PREFIX + name.upper(),
            "value": shown(name, getattr(settings, name)),
            "default": shown(name, field.default),
            "type": type_name(field),
            "meaning": " ".join((field.description or "").split()),
        }
        for group in Settings.__bases__
        if issubclass(group, Group)
        for name, field in group.model_fields.items()
    ]
