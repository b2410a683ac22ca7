from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from deadpan.core.errors import ConfigurationError, SettingsError
from deadpan.core.settings import (
    cache_folder,
    describe,
    load,
    without_password,
)
from deadpan.core.settings.console import Role
from deadpan.core.settings.notifications import notify_urls, quiet_hours
from storage.tables import ROLES
from tasks.housekeeping.targets import apprise_targets
from worker.checks import configuration_problems


def test_every_wrong_variable_is_named_at_once_with_its_value() -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            {
                "DEADPAN_CHUNK_SIZE": "many",
                "DEADPAN_LEASE_SECONDS": "-3",
                "DEADPAN_ALLOW_PRIVATE_ADDRESSES": "10.0.0.0/8,nowhere",
                "DEADPAN_DEVICE": "tpu",
            }
        )
    shown = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for part in ("DEADPAN_CHUNK_SIZE is 'many'", "'-3'", "'nowhere'", "'tpu'"):
        assert part in shown


def test_a_variable_in_small_letters_counts_unless_there_is_one_in_capitals() -> None:
    assert load({"deadpan_chunk_size": "7"}).chunk_size == 7
    assert load({"DEADPAN_CHUNK_SIZE": "8", "deadpan_chunk_size": "7"}).chunk_size == 8


def test_a_secret_is_neither_in_an_error_nor_in_the_list_nor_in_the_repr() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"DEADPAN_SECRET_KEY": "hush", "DEADPAN_REDIS_URL": "http://:hush@redis"})
    assert "hush" not in str(caught.value)
    assert len(caught.value.problems) == 2
    settings = load(
        {
            "DEADPAN_REDIS_URL": "redis://user:hush@redis:6379/0",
            "DEADPAN_SOURCE_TOKEN": "hush",
            "DEADPAN_DATABASE_URL": "postgresql://me:hush@db/deadpan",
        }
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(describe(settings))
    assert "redis://user:***@redis:6379/0" in str(describe(settings))


def test_lists_are_written_with_commas() -> None:
    settings = load({"DEADPAN_IMAGE_HOSTS": "a.example, *.b.example ,"})
    assert settings.image_hosts == ("a.example", "*.b.example")
    assert [
        str(n)
        for n in load(
            {"DEADPAN_ALLOW_PRIVATE_ADDRESSES": "10.0.0.0/8,fd00::/8"}
        ).allow_private_addresses
    ] == [
        "10.0.0.0/8",
        "fd00::/8",
    ]


def test_every_setting_says_what_it_means() -> None:
    for row in describe(load({})):
        assert len(row["meaning"].split()) >= 4, row["variable"]
        assert row["variable"].startswith("DEADPAN_")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hush@host/0", "redis://:***@host/0"),
        ("postgresql://me:p@ss@host/db", "postgresql://me:***@host/db"),
        (
            "postgresql://h/db?user=me&password=hu@sh&x=1",
            "postgresql://h/db?user=me&password=***&x=1",
        ),
        ("rediss://h/0?ssl_password=hush&db=3", "rediss://h/0?ssl_password=***&db=3"),
    ],
)
def test_a_password_in_a_url_is_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_cache_is_where_its_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder(load({})) == tmp_path / ".cache" / "deadpan"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder(load({})) == Path("/var/cache/deadpan")
    assert cache_folder(load({"DEADPAN_CACHE_DIR": "/srv/kept"})) == Path("/srv/kept")


def test_an_engine_that_cannot_be_is_found_before_the_worker_starts() -> None:
    settings = load({"DEADPAN_ENGINE": "openvino", "DEADPAN_DEVICE": "cuda"})
    assert "OpenVINO runs on the CPU" in " ".join(configuration_problems(settings))


def test_queues_have_days_of_their_own() -> None:
    settings = load({"DEADPAN_RETENTION_EVIDENCE_QUEUES": "degraded:7, a:b:0"})
    assert settings.retention_evidence_queues == {"degraded": 7, "a:b": 0}
    for wrong in ("degraded", "degraded:x", ":7", "degraded:-1", "degraded:36501", "a:1,a:2"):
        with pytest.raises(SettingsError, match=r"RETENTION_DECISIONS_QUEUES.*'(degraded|:7|a)"):
            load({"DEADPAN_RETENTION_DECISIONS_QUEUES": wrong})


OIDC = {
    "DEADPAN_OIDC_ISSUER": "https://login.example/realm/",
    "DEADPAN_OIDC_CLIENT_ID": "deadpan",
    "DEADPAN_OIDC_CLIENT_SECRET": "hush",
    "DEADPAN_CONSOLE_URL": "https://deadpan.example/",
}


def test_a_provider_is_named_letter_by_letter_and_needs_all_its_settings() -> None:
    loaded = load(OIDC)
    assert loaded.oidc_issuer == "https://login.example/realm/"
    assert loaded.console_url == "https://deadpan.example"
    for missing in list(OIDC)[1:]:
        with pytest.raises(SettingsError, match=f"DEADPAN_OIDC_ISSUER is set but {missing} not"):
            load({name: value for name, value in OIDC.items() if name != missing})
    with pytest.raises(SettingsError, match="CLIENT_ID is set but DEADPAN_OIDC_ISSUER"):
        load({"DEADPAN_OIDC_CLIENT_ID": "deadpan"})


def test_roles_of_a_provider_are_a_claim_and_what_its_values_mean() -> None:
    roles = {
        "DEADPAN_OIDC_ROLE_CLAIM": "realm_access.roles",
        "DEADPAN_OIDC_ROLES": "team:moderator, urn:x:leads:lead",
    }
    loaded = load(OIDC | roles)
    assert loaded.oidc_roles == {"team": "moderator", "urn:x:leads": "lead"}
    assert get_args(Role) == ROLES
    for name in roles:
        with pytest.raises(SettingsError, match=f"{name} is set but DEADPAN_OIDC_ROLE"):
            load(OIDC | {name: roles[name]})
    with pytest.raises(SettingsError, match="ROLE_CLAIM is set but DEADPAN_OIDC_ISSUER not"):
        load(roles)
    for wrong in ("team", "team:", ":lead", "team:boss", "team:Lead", "team:lead,team:admin"):
        with pytest.raises(SettingsError, match=r"DEADPAN_OIDC_ROLES.*'(team|:lead)"):
            load(OIDC | roles | {"DEADPAN_OIDC_ROLES": wrong})


def test_scopes_are_words_and_openid_is_among_them() -> None:
    assert load({}).oidc_scopes == ("openid", "email")
    more = {"DEADPAN_OIDC_SCOPES": "openid,email,groups"}
    assert load(OIDC | more).oidc_scopes == ("openid", "email", "groups")
    for wrong, says in (("email", "'openid' is missing"), ("openid,a b", "'a b' is not a scope")):
        with pytest.raises(SettingsError, match=says):
            load(OIDC | {"DEADPAN_OIDC_SCOPES": wrong})


def test_passwords_are_off_only_beside_a_provider() -> None:
    off = {"DEADPAN_CONSOLE_PASSWORDS": "off"}
    assert load(OIDC | off).console_passwords == "off"
    assert load({}).console_passwords == "on"
    with pytest.raises(SettingsError, match="CONSOLE_PASSWORDS is 'off' and DEADPAN_OIDC_ISSUER"):
        load(off)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEADPAN_OIDC_ISSUER", "http://login.example", "needs https"),
        ("DEADPAN_OIDC_ISSUER", "login.example", "write https"),
        ("DEADPAN_OIDC_ISSUER", "https://u:p@login.example", "write https"),
        ("DEADPAN_CONSOLE_URL", "https://deadpan.example/console", "at the root of its host"),
        ("DEADPAN_CONSOLE_URL", "https://deadpan.example/?x=1", "write https"),
    ],
)
def test_an_address_that_cannot_be_trusted_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(OIDC | {name: value})


def test_a_setting_that_is_gone_says_where_it_went() -> None:
    with pytest.raises(SettingsError, match=r"DEADPAN_REASON_CODES: .*\[reason_codes\]"):
        load({"DEADPAN_REASON_CODES": "hate:Hate speech"})
    assert load({"DEADPAN_REASON_CODES": ""}).policy == ""


@pytest.mark.parametrize("name", ["SOURCE_TOKEN", "SECRET_KEY", "OIDC_CLIENT_SECRET", "SOURCE"])
@pytest.mark.parametrize("written", ["{}\n", "{}\r\n", "\ufeff{}\n", "  {} "])
def test_what_files_add_around_a_value_is_no_part_of_it(name: str, written: str) -> None:
    value = "0123456789abcdef" * 3
    environment = OIDC if name.startswith("OIDC") else {}
    loaded = getattr(load({**environment, f"DEADPAN_{name}": written.format(value)}), name.lower())
    assert (loaded if isinstance(loaded, str) else loaded.get_secret_value()) == value


def test_urls_of_notifications_are_never_shown() -> None:
    url = "slack://token-a/token-b/token-c mailto://me:hunter2@example.com"
    settings = load({"DEADPAN_NOTIFY_URLS": url})
    assert "token-a" not in repr(settings)
    assert "hunter2" not in str(list(describe(settings)))
    assert notify_urls(settings.notify_urls) == tuple(url.split())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("at night", "write it as 22:00-07:00 Europe/Berlin"),
        ("22:00-27:00", "hours go from 00:00 to 23:59"),
        ("22:00-22:00", "it begins when it ends"),
        ("22:00-07:00 Mars/Olympus", "time zone 'Mars/Olympus' is not known here"),
    ],
)
def test_quiet_hours_that_cannot_be_read_are_refused(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"DEADPAN_NOTIFY_QUIET_HOURS is '{given}': {said}"):
        load({"DEADPAN_NOTIFY_QUIET_HOURS": given})


def test_quiet_hours_go_by_the_clock_of_their_zone() -> None:
    quiet = quiet_hours("22:00-07:00 Europe/Berlin")
    assert quiet is not None
    summer, winter = (
        datetime(2026, 7, 1, 5, 30, tzinfo=UTC),
        datetime(2026, 1, 1, 5, 30, tzinfo=UTC),
    )
    assert (quiet.hold(summer), quiet.hold(winter)) == (False, True)
    noon = quiet_hours("12:00-13:00")
    assert noon is not None
    assert [noon.hold(summer.replace(hour=hour)) for hour in (11, 12, 13)] == [False, True, False]


def test_without_the_extra_or_with_a_url_that_is_none_people_are_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"URL 2 \(nonsense\) is none that Apprise"
    ) as caught:
        apprise_targets(["json://localhost", "nonsense://hunter2"])
    assert "hunter2" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'deadpan\[notify\]'"):
        apprise_targets(["json://localhost"])
    assert apprise_targets([]) == []
