"""What DEADPAN_REDIS_URL says, read once for everybody: redis-py, Celery's transport and `check`.

redis-py and kombu read a URL differently: each accepts options that the other rejects, and misses
mistakes that the other finds (a database that is not a number, a password that breaks the URL).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

if TYPE_CHECKING:
    import redis

FORMS: Final = "write redis://HOST:PORT/DB, rediss://… for TLS, or unix:///PATH?db=DB"
DEFAULT_PORT: Final = 6379
LEAST_CONNECTIONS: Final = 16
"""A worker's threads may need as many at once; with fewer it would fail in the middle of work."""

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "unix",
    "redis+unix": "unix",
}
_SIGNS: Final = (
    "special characters (@ : / ? # % and spaces) in a user name or password are percent-encoded: "
    "# is written %23, / is %2F, @ is %40"
)


def _yes(value: str) -> bool:
    # As redis-py reads it, but a misspelling is not a yes.
    if value.lower() in ("1", "true", "t", "yes", "y", "on"):
        return True
    if value.lower() in ("0", "false", "f", "no", "n", "off"):
        return False
    raise ValueError("write true or false")


def _seconds(value: str) -> float:
    if not (re.fullmatch(r"[0-9]{1,6}(\.[0-9]{0,9})?", value) and 0.1 <= float(value) <= 3600.0):
        raise ValueError("write seconds, from 0.1 to 3600")
    return float(value)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and least <= int(value[:12]) <= most):
            raise ValueError(f"write a whole number from {least} to {most}")
        return int(value)

    return read


def _text(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    return value


def _file(value: str) -> str:
    if not Path(value).is_file():
        raise ValueError("there is no such file")
    return value


def _folder(value: str) -> str:
    if not Path(value).is_dir():
        raise ValueError("there is no such folder")
    return value


def _certificates(value: str) -> str:
    # kombu's spelling works too: URLs are copied from other Celery projects.
    wanted = value.lower().removeprefix("cert_")
    if wanted not in ("none", "optional", "required"):
        raise ValueError("write none, optional or required")
    return wanted


def _tls_version(value: str) -> ssl.TLSVersion:
    names = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}
    names |= {str(int(version)): version for version in names.values()}
    if (version := names.get(value.lower())) is None:
        raise ValueError("write TLSv1.2 or TLSv1.3")
    return version


def _verify_flags(value: str) -> list[ssl.VerifyFlags]:
    names = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
    unknown = [name for name in names if name not in ssl.VerifyFlags.__members__]
    if unknown or not names:
        raise ValueError(f"write some of {', '.join(ssl.VerifyFlags.__members__)}, with commas")
    return [ssl.VerifyFlags[name] for name in names]


_ANY: Final[Mapping[str, Callable[[str], Any]]] = {
    "client_name": _text,
    "health_check_interval": _whole(0, 86_400),
    "max_connections": _whole(LEAST_CONNECTIONS, 10_000),
    "protocol": _whole(2, 3),
    "retry_on_timeout": _yes,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _yes,
    "socket_read_size": _whole(1024, 2**24),
    "socket_timeout": _seconds,
}
_TLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl_ca_certs": _file,
    "ssl_ca_data": _text,
    "ssl_ca_path": _folder,
    "ssl_cert_reqs": _certificates,
    "ssl_certfile": _file,
    "ssl_check_hostname": _yes,
    "ssl_ciphers": _text,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_keyfile": _file,
    "ssl_min_version": _tls_version,
    "ssl_password": _text,
}
_ALL: Final = {"db": _whole(0, 10**6), "password": _text, "username": _text, **_ANY, **_TLS}
_NOT_OVER_A_SOCKET_FILE: Final = (
    *("host", "port", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"),
)
_REPLIES: Final = frozenset(
    {"decode_responses", "encoding", "encoding_errors", "legacy_responses", "parser_class"}
)
_OTHERWISE: Final = (
    (
        re.compile(r"sentinel", re.IGNORECASE),
        "Redis Sentinel is not supported; use an address that follows the primary, such as a "
        "proxy (HAProxy) or a Kubernetes service: redis://HOST:PORT/DB",
    ),
    (
        re.compile(r"cluster", re.IGNORECASE),
        "Redis Cluster is not supported, because Deadpan moves post ids between several keys at "
        "once; use one Redis or Valkey without cluster mode: redis://HOST:PORT/DB",
    ),
    (re.compile(r"socket", re.IGNORECASE), "for a socket file write unix:///PATH?db=DB"),
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL. Its `repr` holds no secret.

    Attributes:
        scheme: redis, rediss or unix.
        host: name or address, without brackets; the path of a socket file.
        port: 0 for a socket file.
        options: as redis-py's connections accept them.
    """

    scheme: str
    host: str
    port: int
    db: int
    username: str | None
    password: str | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)

    @property
    def shown(self) -> str:
        """For display: no password, and no options, which may hold one too."""
        return self._written("***" if self.password is not None else None)

    @property
    def plain(self) -> str:
        """With the password, in the one spelling that all parsers agree on; no options."""
        return self._written(None if self.password is None else quote(self.password, safe=""))

    def _written(self, password: str | None) -> str:
        who = quote(self.username or "", safe="")
        who += "" if password is None else f":{password}"
        who += "@" if who else ""
        if self.scheme == "unix":
            return f"unix://{who}{quote(self.host)}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{who}{host}:{self.port}/{self.db}"

    def arguments(self, **defaults: Any) -> dict[str, Any]:
        """Arguments of redis-py's connection pools; `defaults` hold where the URL says nothing."""
        from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

        given: dict[str, Any] = {**defaults, **self.options, "db": self.db}
        if self.username is not None:
            given["username"] = self.username
        if self.password is not None:
            given["password"] = self.password
        if self.scheme == "unix":
            given |= {"path": self.host, "connection_class": UnixDomainSocketConnection}
            return self.fitting(given)
        kind = SSLConnection if self.scheme == "rediss" else Connection
        return {**given, "host": self.host, "port": self.port, "connection_class": kind}

    def client(self, *, insist: Mapping[str, Any] | None = None, **defaults: Any) -> redis.Redis:
        """A client that connects on first use; `insist` overrides the URL, which overrides
        `defaults`."""
        import redis

        arguments = self.fitting({**self.arguments(**defaults), **(insist or {})})
        return redis.Redis.from_pool(redis.ConnectionPool(**arguments))

    def fitting(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments without those that this kind of connection does not accept."""
        unwanted = _NOT_OVER_A_SOCKET_FILE if self.scheme == "unix" else ()
        return {name: value for name, value in arguments.items() if name not in unwanted}


def read(url: str) -> RedisUrl:
    """Parse a Redis URL; white space around it, as files of secrets have it, is ignored.

    Raises:
        ValueError: it cannot be used; the text says why and quotes no secret.
    """
    url = url.strip()
    if url[:1] in "\"'" and url:
        raise ValueError("it begins with a quotation mark; leave the quotes out")
    scheme, separator, _ = url.partition("://")
    if not separator or (kind := _SCHEMES.get(scheme.lower())) is None:
        for pattern, said in _OTHERWISE:
            if separator and pattern.search(scheme):
                raise ValueError(said)
        raise ValueError(FORMS)
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"it holds a space or a line break; {_SIGNS}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"its host or port is invalid; {FORMS}; {_SIGNS}") from None
    cut = "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc)
    if "#" in url or cut:
        raise ValueError(f"a special character cuts it in two; {_SIGNS}")
    options = _options(parts.query, tls=kind == "rediss")
    username = options.pop("username", None) or unquote(parts.username or "") or None
    password = options.pop("password", None)
    if password is None and parts.password is not None:
        password = unquote(parts.password) or None
    db = options.pop("db", None)
    if kind == "unix":
        path = unquote(host + parts.path)
        if host or not parts.path.strip("/"):
            raise ValueError(
                "it names no socket file; write unix:///PATH?db=DB, with three slashes"
            )
        return RedisUrl(kind, path, 0, db or 0, username, password, options)
    if "," in host or ";" in parts.netloc:
        raise ValueError(
            "it names several hosts; Deadpan uses one Redis or Valkey, no Sentinel or cluster; "
            f"{FORMS}"
        )
    if port == 0:
        raise ValueError(f"port 0 is invalid; {FORMS}")
    return RedisUrl(
        kind,
        unquote(host) or "localhost",
        port or DEFAULT_PORT,
        _database(parts.path) if db is None else db,
        username,
        password,
        options,
    )


def _database(path: str) -> int:
    name = unquote(path).removeprefix("/")
    try:
        return _whole(0, 10**6)(name or "0")
    except ValueError:
        raise ValueError(
            f"its database is {name!r:.80}, which is not a number; write redis://HOST:PORT/0"
        ) from None


def _options(query: str, *, tls: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in found:
            raise ValueError(f"its option {name!r} is given twice; keep one")
        if name in _REPLIES:
            raise ValueError(f"its option {name!r} changes what Redis answers; leave it out")
        if name in _TLS and not tls:
            raise ValueError(f"its option {name!r} is for TLS; begin the URL with rediss://")
        if (reader := _ALL.get(name)) is None:
            raise ValueError(
                f"its option {name!r:.80} is not known; known are {', '.join(sorted(_ALL))}"
            )
        try:
            found[name] = reader(value)
        except ValueError as error:
            shown = "(hidden)" if "password" in name else f"{value!r:.200}"
            raise ValueError(f"its option {name!r} is {shown}: {error}") from None
    return found
