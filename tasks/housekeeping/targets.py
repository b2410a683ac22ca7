"""Who is told: Apprise's URLs. Apart from the rest, for workers check them too."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Protocol

from deadpan.core.errors import ConfigurationError


class Target(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> str:
        """Fit for a log: no secret."""
        ...

    def tell(self, title: str, text: str) -> bool:
        """Send a text; whether it arrived."""
        ...


class _AppriseTarget:
    def __init__(self, number: int, url: str) -> None:
        import apprise

        self.name = f"URL {number} ({url.partition('://')[0][:20]})"
        self._body_format = apprise.NotifyFormat.TEXT
        self._apprise = apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True))
        if not self._apprise.add(url):
            raise ConfigurationError(
                f"DEADPAN_NOTIFY_URLS: {self.name} is none that Apprise understands; write it as "
                "https://appriseit.com/services/ says, and separate URLs by spaces"
            )

    def tell(self, title: str, text: str) -> bool:
        return bool(self._apprise.notify(body=text, title=title, body_format=self._body_format))


def apprise_targets(urls: Sequence[str]) -> list[Target]:
    """Who is behind Apprise's URLs.

    Raises:
        ConfigurationError: Apprise is not installed, or does not understand one. The message holds
            no more of it than its scheme.
    """
    if not urls:
        return []
    if importlib.util.find_spec("apprise") is None:
        raise ConfigurationError(
            "DEADPAN_NOTIFY_URLS is set, and what sends notifications is not installed; "
            "pip install 'deadpan[notify]', or leave it empty"
        )
    # What it logs below a warning holds URLs as they are.
    logging.getLogger("apprise").setLevel(logging.WARNING)
    return [_AppriseTarget(number, url) for number, url in enumerate(urls, start=1)]
