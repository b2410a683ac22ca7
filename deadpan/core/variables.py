"""Variables that look like settings but are not: a misspelt one would silently have no effect."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches

from deadpan.core import logs
from deadpan.core.settings import PREFIX, Settings

# What Kubernetes sets in every pod beside a service called deadpan-console or the like.
_OF_A_SERVICE = re.compile(
    r"_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_ADDRESS_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://[0-9]")

_told = False


def unknown_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Unknown names that begin with DEADPAN_, each with the setting most likely meant, or ""."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    variables = os.environ if environment is None else environment
    found = {}
    for name, value in sorted(variables.items()):
        is_service = _OF_A_SERVICE.search(name) or (
            name.endswith("_PORT") and _ADDRESS_OF_A_SERVICE.match(value)
        )
        if name.startswith(PREFIX) and name not in known and not is_service:
            found[name] = next(iter(get_close_matches(name, known, n=1, cutoff=0.75)), "")
    return found


def complaints(environment: Mapping[str, str] | None = None) -> list[str]:
    """The same as one sentence each."""
    return [
        f"{name} is not a setting of Deadpan and has no effect; "
        + (f"did you mean {meant}?" if meant else "`deadpan settings` lists them all")
        for name, meant in unknown_variables(environment).items()
    ]


def tell() -> None:
    """Say so on standard error, in the form of the log, once in a process."""
    global _told
    if not _told:
        _told = True
        for complaint in complaints():
            logs.warn(complaint)
