"""A request came from where its connection says, unless a proxy that is trusted says more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from deadpan.core.errors import SettingsError
from deadpan.core.settings import load
from storage.base.database import transaction
from storage.judging.evidence import EvidenceStore
from storage.people import audit
from tasks.intake.intake import Intake
from tests.console_server import serving


def _guess(
    url: str, times: int, *, forged: str = "", chain: Sequence[str] = ()
) -> list[httpx.Response]:
    """Wrong passwords, each with another forged address."""
    answers = []
    for number in range(times):
        with httpx.Client(base_url=url) as browser:
            form = re.search(r'name="form" value="([^"]+)"', browser.get("/sign-in").text)
            assert form
            said = [forged.format(number), *chain] if forged else list(chain)
            headers = {"X-Forwarded-For": ", ".join(said)} if said else {}
            fields = {"name": "ann", "password": "wrong", "form": form[1]}
            answers.append(browser.post("/sign-in", data=fields, headers=headers))
    return answers


def _addresses(database: Engine) -> set[str | None]:
    with transaction(database, read_only=True) as connection:
        return {e.address for e in audit.read(connection, limit=50, action="session.refused")}


def test_nobody_is_believed_by_default_not_even_on_loopback(
    tmp_path: Path, intake: Intake, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What uvicorn would otherwise take.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with serving(database, intake, EvidenceStore(str(tmp_path))) as console:
        console.person("ann")
        answers = _guess(console.url, 6, forged="203.0.113.{}")
        assert answers[-1].status_code == 429, "a new address each time is no new guesser"
        assert _addresses(database) == {"127.0.0.1"}
        page = httpx.get(f"{console.url}/sign-in", headers={"X-Forwarded-Proto": "https"})
        assert "strict-transport-security" not in page.headers
        assert "secure" not in page.headers["set-cookie"].lower()


def test_a_trusted_proxy_says_where_a_request_came_from_and_who_forges_it_does_not(
    tmp_path: Path, intake: Intake, database: Engine
) -> None:
    trusted = [ip_network("127.0.0.1"), ip_network("10.0.0.0/8")]
    with serving(
        database, intake, EvidenceStore(str(tmp_path)), trusted_proxies=trusted
    ) as console:
        console.person("ann")
        # The browser forges one; two proxies add whom they saw.
        answers = _guess(console.url, 6, forged="203.0.113.{}", chain=["198.51.100.7", "10.1.2.3"])
        assert answers[-1].status_code == 429
        assert _addresses(database) == {"198.51.100.7"}
        page = httpx.get(f"{console.url}/sign-in", headers={"X-Forwarded-Proto": "https"})
        assert "strict-transport-security" in page.headers
        assert "secure" in page.headers["set-cookie"].lower()


def test_trusted_proxies_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().trusted_proxies == ()
    monkeypatch.setenv("DEADPAN_TRUSTED_PROXIES", "127.0.0.1, 10.1.0.0/16,::1")
    assert [str(n) for n in load().trusted_proxies] == [
        "127.0.0.1/32",
        "10.1.0.0/16",
        "::1/128",
    ]
    monkeypatch.setenv("DEADPAN_TRUSTED_PROXIES", "proxy.example")
    with pytest.raises(SettingsError, match=r"write networks such as 10\.0\.0\.0/8"):
        load()
