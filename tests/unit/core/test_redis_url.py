"""DEADPAN_REDIS_URL: what it may say, and what is said of the rest."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from deadpan.core.errors import SettingsError
from deadpan.core.redis_url import _ALL, LEAST_CONNECTIONS, read
from deadpan.core.settings import load


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://h/", "redis://h:6379/0"),
        ("redis:///4", "redis://localhost:6379/4"),
        ("REDIS://h:7000/16", "redis://h:7000/16"),
        ("redis://h/0?db=3", "redis://h:6379/3"),
        ("redis://[::1]:6380/2", "redis://[::1]:6380/2"),
        ("valkey://h/1", "redis://h:6379/1"),
        ("valkeys://h", "rediss://h:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("unix:///run/my%20redis.sock?db=2", "unix:///run/my%20redis.sock?db=2"),
        ("unix://user:hush@/run/redis.sock", "unix://user:***@/run/redis.sock?db=0"),
        (" redis://:hush@h/0\n", "redis://:***@h:6379/0"),
    ],
)
def test_a_url_is_read_and_shown_without_its_password(url: str, shown: str) -> None:
    parsed = read(url)
    assert parsed.shown == shown
    assert "hush" not in repr(parsed)
    assert read(parsed.plain) == parsed
    assert load({"DEADPAN_REDIS_URL": url}).redis_url.get_secret_value() == url.strip()


def test_signs_in_user_and_password_are_percent_encoded() -> None:
    parsed = read("redis://app%40svc%3A1:p%23a%2Fs%3As%25w%3Fd@h/0")
    assert parsed.username == "app@svc:1"
    assert parsed.password == "p#a/s:s%w?d"
    assert read(parsed.plain) == parsed
    assert read("redis://:a+b%20c@h").password == "a+b c"
    assert read("redis://h?username=u&password=p%26q").password == "p&q"


def test_options_have_the_types_that_redis_py_wants(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("", encoding="utf-8")
    options = read(
        "rediss://h/0?socket_timeout=5&health_check_interval=10&retry_on_timeout=true"
        "&socket_keepalive=0&protocol=3&client_name=worker&max_connections=50"
        f"&ssl_cert_reqs=CERT_NONE&ssl_min_version=TLSv1.3&ssl_ca_certs={tmp_path}/ca.pem"
        "&ssl_check_hostname=false&ssl_include_verify_flags=VERIFY_X509_STRICT"
    ).options
    assert options == {
        "socket_timeout": 5.0,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "socket_keepalive": False,
        "protocol": 3,
        "client_name": "worker",
        "max_connections": 50,
        "ssl_cert_reqs": "none",
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
        "ssl_ca_certs": f"{tmp_path}/ca.pem",
        "ssl_check_hostname": False,
        "ssl_include_verify_flags": [ssl.VerifyFlags.VERIFY_X509_STRICT],
    }


def test_the_url_goes_before_defaults_and_behind_what_is_insisted_on() -> None:
    url = read("redis://h/0?socket_timeout=5")
    assert url.arguments(socket_timeout=10.0, health_check_interval=30)["socket_timeout"] == 5.0
    assert url.arguments(health_check_interval=30)["health_check_interval"] == 30
    client = url.client(insist={"socket_timeout": 0.5})
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.5
    client.close()


@pytest.mark.parametrize("scheme", ["redis://h", "rediss://h", "unix:///run/redis.sock"])
def test_every_option_that_is_known_makes_a_connection(scheme: str, tmp_path: Path) -> None:
    """Of its kind: redis-py refuses an argument that a kind of connection lacks only when a
    connection is made."""
    values = {
        **dict.fromkeys(_ALL, "1"),
        **dict.fromkeys(("ssl_include_verify_flags", "ssl_exclude_verify_flags"), "VERIFY_DEFAULT"),
        "max_connections": str(LEAST_CONNECTIONS),
        "protocol": "2",
        "socket_read_size": "65536",
        "ssl_ca_certs": __file__,
        "ssl_ca_path": str(tmp_path),
        "ssl_cert_reqs": "required",
        "ssl_certfile": __file__,
        "ssl_keyfile": __file__,
        "ssl_min_version": "TLSv1.2",
    }
    known = [n for n in _ALL if scheme.startswith("rediss") or not n.startswith("ssl_")]
    url = read(scheme + "?" + "&".join(f"{name}={values[name]}" for name in known))
    client = url.client(socket_timeout=10.0, socket_connect_timeout=5.0, socket_keepalive=True)
    assert client.connection_pool.make_connection() is not None
    client.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "write redis://HOST:PORT/DB"),
        ("localhost:6379", "write redis://HOST:PORT/DB"),
        ("http://:hush@h", "write redis://HOST:PORT/DB"),
        ("'redis://:hush@h'", "leave the quotes out"),
        ("redis://:hush @h", "a space or a line break"),
        ("redis://:hu\nsh@h", "a space or a line break"),
        ("redis://:hu#sh@h/0", "percent-encoded"),
        ("redis://:hu/sh@h/0", "percent-encoded"),
        ("redis://:12/hush@h/0", "percent-encoded"),
        ("redis://:hu?sh@h/0", "percent-encoded"),
        ("redis://:12?hush@h/0", "percent-encoded"),
        ("redis://h:99999/0", "port"),
        ("redis://h:0/0", "port 0"),
        ("redis://::1:6379/0", "port"),
        ("redis://h/abc", "its database is 'abc'"),
        ("redis://h/-1", "its database is '-1'"),
        ("redis://h/0/1", "its database is '0/1'"),
        ("redis://h/0?db=x", "whole number"),
        ("redis://h/0?sockettimeout=4", "'sockettimeout' is not known; known are client_name"),
        ("redis://h/0?socket_timeout=4&socket_timeout=5", "given twice"),
        ("redis://h/0?socket_timeout=soon", "'socket_timeout' is 'soon': write seconds"),
        ("redis://h/0?socket_timeout=0", "write seconds, from 0.1"),
        ("redis://h/0?max_connections=1", "whole number from 16"),
        ("redis://h/0?socket_keepalive=perhaps", "write true or false"),
        ("redis://h/0?decode_responses=true", "changes what Redis answers"),
        ("redis://h/0?ssl_cert_reqs=none", "begin the URL with rediss://"),
        ("rediss://h/0?ssl_cert_reqs=never", "none, optional or required"),
        ("rediss://h/0?ssl_ca_certs=/no/such.pem", "'/no/such.pem': there is no such file"),
        ("rediss://h/0?ssl_min_version=TLSv1", "TLSv1.2 or TLSv1.3"),
        ("unix://", "three slashes"),
        ("unix://run/redis.sock", "three slashes"),
        ("redis+socket:///run/redis.sock", "write unix:///PATH"),
        ("sentinel://:hush@a:26379", "Sentinel"),
        ("redis+sentinel://a:26379,b:26379/mymaster", "Sentinel"),
        ("redis+cluster://a:7000", "Cluster"),
        ("redis://a:7000,b:7000/0", "port"),
        ("redis://a,b/0", "several hosts"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_secret(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match="DEADPAN_REDIS_URL is \\(hidden\\)") as caught:
        load({"DEADPAN_REDIS_URL": url} if url else {"DEADPAN_REDIS_URL": "\n"})
    assert says in str(caught.value)
    for secret in ("hush", ":12", "hu#sh", "hu/sh", "hu?sh", "sh@"):
        assert secret not in str(caught.value)
