"""Settings: every DEADPAN_* environment variable, its type, its default and its meaning.

They are read once, by whatever starts a process; functions take values, not settings.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deadpan.core import redis_url
from deadpan.core.errors import SettingsError

PREFIX = "DEADPAN_"
MAX_DAYS = 36_500
_ROLES = ("viewer", "moderator", "lead", "admin")
"""As `storage.tables.console.ROLES`, without loading a database."""
_SECRET_OPTION = re.compile(
    r"([?&][^=&]*(?:pass|secret|token|key|credential|pwd)[^=&]*=)[^&#]*", re.IGNORECASE
)
_REMOVED = {
    "DEADPAN_REASON_CODES": "reason codes are part of the policy now; write them into the file of "
    "DEADPAN_POLICY, as the table [reason_codes]",
}


def _split(value: Any) -> Any:
    """Read a comma-separated list, as an environment variable carries it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


_Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _networks(value: Any) -> Any:
    """Read a comma-separated list of networks such as `10.0.0.0/8,fd00::/8`."""
    try:
        return tuple(
            part if not isinstance(part, str) else ipaddress.ip_network(part)
            for part in _split(value)
        )
    except ValueError as error:
        raise ValueError(f"{error}; write networks such as 10.0.0.0/8, with commas") from None


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(BaseSettings):
    """What the environment says. Frozen; secrets never show in `repr` or errors."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey that holds the intake and Celery's messages: "
        "redis://HOST:PORT/DB, rediss://… with TLS, or unix:///PATH?db=DB.",
    )
    prefix: str = Field(
        "deadpan",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="First part of every Redis key; the intake is PREFIX:posts.",
    )
    database_url: SecretStr = Field(
        SecretStr("sqlite:///deadpan.db"),
        description="Where verdicts and flags are written: sqlite:///PATH or postgresql://…",
    )
    source: str = Field(
        "",
        description="Where posts come from: http(s)://…{ids}…, http(s)://…{id}…, "
        "file:PATH.jsonl or database. A worker needs it.",
    )
    source_token: SecretStr | None = Field(
        None, description="Bearer token sent to an HTTP post source, and to nobody else."
    )
    source_fields: _Words = Field(
        (),
        description="How an HTTP source's answer is laid out where it differs, e.g. "
        "posts=data.items,text=body,images=media.*.url",
    )
    source_database_url: SecretStr | None = Field(
        None, description="The platform's database, for the source `database`."
    )
    source_query: str = Field(
        "",
        description="A query with :ids that gives id, text, images (JSON), author, created_at, "
        "language.",
    )
    model: str = Field("mini", description="A preset's name, or the folder of a checkpoint.")
    challenger: str = Field(
        "",
        description="A second model, named as DEADPAN_MODEL is, that judges the same posts beside "
        "it; `deadpan canary` compares them. Nothing else comes of what it says.",
    )
    challenger_share: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="Share of posts that the challenger judges too; which ones follows from their "
        "ids.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs; auto takes a GPU if there is one."
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="What runs the model; auto is torch on a GPU, and on a CPU the faster one, "
        "measured at the first start. openvino runs on the CPU.",
    )
    torch_compile: Literal["on", "off"] = Field(
        "off",
        description="Whether torch compiles the model, on a GPU only: a slow start, for posts "
        "that may be faster. Not measured yet.",
    )
    cache_dir: str = Field(
        "",
        description="Folder for what can be made again, such as converted models; empty takes "
        "deadpan in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).",
    )
    ocr: Literal["on", "off"] = Field(
        "off",
        description="Whether words in pictures are read too (extra `ocr`); about 0.1 s a picture.",
    )
    policy: str = Field(
        "",
        description="A policy file in TOML, for workers and the console; empty takes the policy "
        "that ships with Deadpan.",
    )
    evidence_url: str = Field(
        "evidence",
        description="Where the evidence of flagged posts is kept: a folder, or any fsspec URL.",
    )
    chunk_size: int = Field(
        64,
        ge=4,
        le=1024,
        description="At most so many posts in one chunk; "
        "fewer where they would take more than 5 seconds.",
    )
    feature_cache_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="Memory of a worker for features of pictures that it saw before; 0 keeps none.",
    )
    feature_cache_redis: int = Field(
        86_400,
        ge=0,
        le=30 * 86_400,
        description="Seconds that features of pictures are kept in Redis for all workers; "
        "0 keeps none there.",
    )
    feature_cache_redis_bytes: int = Field(
        64 * 2**20,
        ge=2**20,
        description="What these features may take in Redis, for each model; never more than an "
        "eighth of its `maxmemory`.",
    )
    remembered_posts: int = Field(
        10_000,
        ge=0,
        description="Predictions that a worker keeps in memory for posts of the same content, "
        "about 1 kB each, and 7 kB of one that is flagged and explained; 0 keeps none.",
    )
    slots: int = Field(3, ge=1, le=64, description="Chunks that one worker has in hand at once.")
    latency_goal_seconds: float = Field(
        30.0,
        gt=0,
        le=86_400.0,
        description="Posts of high and normal priority are to be taken in hand within this; "
        "the number of workers follows from it.",
    )
    low_latency_goal_seconds: float = Field(
        6 * 3600.0, gt=0, le=30 * 86_400.0, description="The same for posts of low priority."
    )
    workers_min: int = Field(
        1, ge=0, le=10_000, description="Least number of workers; 0 lets the last one go as well."
    )
    workers_max: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Largest number of workers; 0 takes one for each GPU, or for every two cores.",
    )
    worker_posts_per_second: float = Field(
        200.0,
        gt=0,
        description="What one worker does, as `make bench` measures it; used until a backlog "
        "shows it.",
    )
    worker_start_seconds: float = Field(
        15.0, gt=0, le=3600.0, description="From the start of a worker until it is ready."
    )
    worker_idle_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400.0,
        description="With DEADPAN_WORKERS_MIN 0 the last worker goes after so long without a post.",
    )
    explain: Literal["on", "off"] = Field(
        "on",
        description="Whether a flag says which words and parts of a picture moved its score.",
    )
    explain_up_to: int = Field(
        8,
        ge=0,
        le=1024,
        description="Flags of chunks of at most so many posts are explained by judging the post "
        "again without each part. Larger chunks mean a backlog: their flags are explained from "
        "features that are there already, which is rougher and costs a fourteenth.",
    )
    lease_seconds: float = Field(
        30.0,
        ge=1.0,
        le=3600.0,
        description="A chunk whose worker is silent for so long is dispatched again.",
    )
    grace_seconds: float = Field(
        8.0,
        ge=0.0,
        le=3600.0,
        description="A worker that is told to end finishes the chunks in hand for so long, then "
        "gives them back whole; less than what stops it waits (`docker stop` 10 seconds).",
    )
    max_attempts: int = Field(
        5, ge=1, le=100, description="Tries of one post before it becomes a dead letter."
    )
    retry_base_seconds: float = Field(
        2.0,
        gt=0,
        le=600.0,
        description="Delay after the first failed try; it doubles with each, up to 10 minutes.",
    )
    fetch_timeout_seconds: float = Field(
        10.0, gt=0, le=600.0, description="Longest wait for one answer of the source or an image."
    )
    max_image_bytes: int = Field(
        10 * 2**20, ge=1024, description="Larger image files are not looked at."
    )
    max_image_pixels: int = Field(
        50_000_000, ge=1024, description="Images with more pixels are not decoded."
    )
    max_images: int = Field(10, ge=0, le=100, description="Images looked at in one post.")
    image_hosts: _Words = Field(
        (),
        description="The only hosts images may come from, e.g. cdn.example.org,*.example.net; "
        "empty allows every public host.",
    )
    allow_private_addresses: Annotated[
        tuple[Network, ...], NoDecode, BeforeValidator(_networks)
    ] = Field(
        (),
        description="Private networks that images may come from and callbacks may go to, "
        "e.g. 10.1.0.0/16; else none.",
    )
    callback_url: str = Field(
        "",
        description="Where callbacks are sent, https://…; http://… only within "
        "DEADPAN_ALLOW_PRIVATE_ADDRESSES. Empty writes and sends none. Shown as it is: put no "
        "password into it.",
    )
    callback_secret: SecretStr | None = Field(
        None,
        description="Signs callbacks: whsec_ and base64, as `deadpan callbacks secret` makes it. "
        "Several with commas while receivers change over; each signs.",
    )
    callback_verdicts: Literal["all", "flagged", "none"] = Field(
        "all", description="Which new verdicts become callbacks."
    )
    callback_timeout_seconds: float = Field(
        10.0, gt=0, le=120.0, description="Longest wait for the receiver of a callback."
    )
    callback_connections: int = Field(
        8, ge=1, le=64, description="Callbacks that are on their way at once."
    )
    callback_retry_base_seconds: float = Field(
        5.0,
        gt=0,
        le=600.0,
        description="Delay after the first failed try of a callback; it doubles with each, up to "
        "2 hours. After 27 tries, more than a day, it is parked.",
    )
    retention_callbacks_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="Days that delivered callbacks are kept in the outbox; 0 keeps them for good.",
    )
    retention_verdicts_days: int = Field(
        0,
        ge=0,
        le=MAX_DAYS,
        description="Days that verdicts without a flag are kept; such a post is judged again when "
        "it is pushed later. 0 keeps them for good.",
    )
    retention_evidence_days: int = Field(
        0,
        ge=0,
        le=MAX_DAYS,
        description="Days that text, pictures and explanations of a post are kept after its last "
        "flag was closed; 0 keeps them for good.",
    )
    retention_evidence_queues: _Words = Field(
        (),
        description="Other days than DEADPAN_RETENTION_EVIDENCE_DAYS for flags of these queues, "
        "each as queue:days, e.g. degraded:7,sarcasm:365; 0 keeps them for good.",
    )
    retention_decisions_days: int = Field(
        0,
        ge=0,
        le=MAX_DAYS,
        description="Days that decisions of closed flags are kept after the last of a flag, with "
        "their notes; 0 keeps them for good.",
    )
    retention_decisions_queues: _Words = Field(
        (),
        description="Other days than DEADPAN_RETENTION_DECISIONS_DAYS for flags of these queues, "
        "each as queue:days, e.g. degraded:7,sarcasm:365; 0 keeps them for good.",
    )
    retention_audit_days: int = Field(
        0,
        ge=0,
        le=MAX_DAYS,
        description="Days that entries of the audit log are kept; 0 keeps them for good.",
    )
    retention_challenger_days: int = Field(
        30,
        ge=0,
        le=3650,
        description="Days that what a challenger said is kept; 0 keeps it for good.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Signs the sign-in form and the mark of browsers that signed in before, and "
        "chooses which decisions get a second look; the same for every console process, 32 "
        "characters or more. Empty makes one at each start.",
    )
    console_url: str = Field(
        "",
        description="Where browsers reach the console, e.g. https://deadpan.example; links to sign "
        "in begin with it, and an OpenID provider sends people back to it.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (),
        description="Proxies before the console, e.g. 127.0.0.1,10.1.0.0/16: what they say in "
        "X-Forwarded-For and X-Forwarded-Proto is believed, of where a request came from and "
        "whether by https. Empty believes nobody.",
    )
    console_passwords: Literal["on", "off"] = Field(
        "on",
        description="Whether moderators may sign in with passwords. off needs DEADPAN_OIDC_ISSUER: "
        "they sign in by the provider alone, and `deadpan moderators sign-in-link` helps where it "
        "is away.",
    )
    oidc_issuer: str = Field(
        "",
        description="An OpenID provider by which moderators may sign in, as it names itself: "
        "https://… (extra `oidc`). Empty offers passwords alone.",
    )
    oidc_client_id: str = Field(
        "", description="What the OpenID provider calls this console; the audience of its tokens."
    )
    oidc_client_secret: SecretStr | None = Field(
        None, description="What the console proves to the OpenID provider that it is itself by."
    )
    oidc_scopes: _Words = Field(
        ("openid", "email"),
        description="What the OpenID provider is asked to tell; some tell of groups only where a "
        "scope asks for it, e.g. openid,email,groups.",
    )
    oidc_role_claim: str = Field(
        "",
        description="The claim by which the OpenID provider gives roles, at each sign-in: its name "
        "or the way to it, e.g. groups or realm_access.roles. Empty leaves roles to admins.",
    )
    oidc_roles: _Words = Field(
        (),
        description="Which role (viewer, moderator, lead, admin) a value of that claim gives, each "
        "as value:role, e.g. trust-safety:moderator,ts-leads:lead. The highest counts; whom none "
        "gives a role stays out.",
    )
    claim_seconds: float = Field(
        300.0,
        ge=10.0,
        le=86_400.0,
        description="How long a moderator holds a flag without doing anything.",
    )
    second_review_share: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Share of decisions that a second moderator looks at too, blind; which ones "
        "follows from DEADPAN_SECRET_KEY.",
    )
    known_answer_share: float = Field(
        0.02,
        ge=0.0,
        le=1.0,
        description="How often the next flag is, as a second look, one of which a lead knows the "
        "answer.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of /healthz, /readyz and /metrics of a worker or of housekeeping; "
        "0 leaves them off.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address that /healthz, /readyz and /metrics listen on."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log line that is written."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto writes for people on a terminal and JSON lines elsewhere."
    )
    traces: Literal["on", "off"] = Field(
        "off",
        description="Whether spans are sent to an OpenTelemetry collector (extra `otel`); OTEL_* "
        "variables say where and how many.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _without_what_files_add(cls, value: Any) -> Any:
        # Files of secrets end with a line break, and some begin with a mark.
        return value.strip().removeprefix("\ufeff").strip() if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError(
                "it is shorter than 32 characters; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        return value

    @field_validator("retention_evidence_queues", "retention_decisions_queues")
    @classmethod
    def _days_of_queues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        queue_days(value)
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _openid_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if not all("!" <= letter <= "~" and letter not in '"\\' for letter in scope):
                raise ValueError(f"'{scope}' is no scope; write them with commas, without spaces")
        if "openid" not in value:
            raise ValueError("'openid' is missing; a provider needs it to say who somebody is")
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _roles_of_values(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        claimed_roles(value)
        return value

    @field_validator("console_url", "oidc_issuer")
    @classmethod
    def _a_web_address(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or "@" in parts.netloc or len(value) > 500:
            raise ValueError("write https://HOST, without query or password")
        if info.field_name == "console_url":
            if parts.path.strip("/"):
                raise ValueError(
                    "the console is served at the root of its host; leave the path out"
                )
            return value.rstrip("/")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("a provider that is not on this machine needs https://")
        # As it is written: a provider's name is compared letter by letter.
        return value

    @field_validator("callback_url")
    @classmethod
    def _a_receiver(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("write https://HOST/PATH")
        if "@" in parts.netloc:
            raise ValueError(
                "it holds a user name or password; leave them out, receivers check the signature"
            )
        return value

    @field_validator("callback_secret")
    @classmethod
    def _signing_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            signing_secrets(value)
        return value

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.callback_url and self.callback_secret is None:
            raise ValueError(
                "DEADPAN_CALLBACK_URL is set and DEADPAN_CALLBACK_SECRET is not; "
                "make one with `deadpan callbacks secret`, and give it to the receiver too"
            )
        return self

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Self:
        names = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        given = [name for name in names if getattr(self, name)]
        wanted = (*names, "console_url")
        missing = [f"{PREFIX}{name.upper()}" for name in wanted if not getattr(self, name)]
        if given and missing:
            raise ValueError(
                f"{PREFIX}{given[0].upper()} is set and {' and '.join(missing)} not; "
                "signing in by an OpenID provider needs them all"
            )
        if bool(self.oidc_role_claim) != bool(self.oidc_roles):
            pair = [f"{PREFIX}OIDC_ROLE_CLAIM", f"{PREFIX}OIDC_ROLES"]
            there, lacking = pair if self.oidc_role_claim else reversed(pair)
            raise ValueError(
                f"{there} is set and {lacking} not; roles that a provider gives need both"
            )
        if self.oidc_role_claim and not self.oidc_issuer:
            raise ValueError(
                f"{PREFIX}OIDC_ROLE_CLAIM is set and {PREFIX}OIDC_ISSUER not; name a provider"
            )
        if self.console_passwords == "off" and not self.oidc_issuer:
            raise ValueError(
                f"{PREFIX}CONSOLE_PASSWORDS is 'off' and {PREFIX}OIDC_ISSUER is not set, so nobody "
                "could sign in; name a provider, or set passwords to on"
            )
        return self

    @field_validator("redis_url")
    @classmethod
    def _a_redis_url(cls, value: SecretStr) -> SecretStr:
        redis_url.read(value.get_secret_value())
        return value


def claimed_roles(given: Iterable[str]) -> dict[str, str]:
    """Roles by the value of a claim, from `value:role` each.

    Raises:
        ValueError: one of them is something else, or a value is named twice.
    """
    found: dict[str, str] = {}
    for part in given:
        value, colon, role = (each.strip() for each in part.rpartition(":"))
        if not (value and colon and role in _ROLES):
            raise ValueError(
                f"'{part}' is not value:role, such as ts-leads:lead; roles are {', '.join(_ROLES)}"
            )
        if value in found:
            raise ValueError(f"'{value}' is given twice; keep one")
        found[value] = role
    return found


def queue_days(given: Iterable[str]) -> dict[str, int]:
    """Days by queue, from `queue:days` each.

    Raises:
        ValueError: one of them is something else, or a queue is named twice.
    """
    found: dict[str, int] = {}
    for part in given:
        queue, colon, days = (each.strip() for each in part.rpartition(":"))
        if not (queue and colon and days.isascii() and days.isdigit() and int(days) <= MAX_DAYS):
            raise ValueError(f"'{part}' is not queue:days, such as degraded:7, at most {MAX_DAYS}")
        if queue in found:
            raise ValueError(f"'{queue}' is given twice; keep one")
        found[queue] = int(days)
    return found


def signing_secrets(value: SecretStr | None) -> tuple[bytes, ...]:
    """The keys that sign callbacks, decoded, in their order; none if there is no setting.

    Raises:
        ValueError: one of them is not `whsec_` and base64 of 24 to 64 bytes.
    """
    keys = []
    for number, part in enumerate(_split(value.get_secret_value()) if value else (), start=1):
        try:
            key = base64.b64decode(part.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        # The sizes that Standard Webhooks asks for.
        if not part.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError(
                f"secret {number} is not whsec_ and the base64 of 24 to 64 bytes; "
                "make one with `deadpan callbacks secret`"
            )
        keys.append(key)
    return tuple(keys)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: variables to read instead of the process's own.

    Raises:
        SettingsError: with every variable that has no usable value, its value and what is allowed.
    """
    variables = os.environ if environment is None else environment
    if gone := [f"{name}: {why}" for name, why in _REMOVED.items() if variables.get(name)]:
        raise SettingsError(gone)
    try:
        if environment is None:
            return Settings()
        names = {PREFIX + name.upper(): name for name in Settings.model_fields}
        given = {names[key]: value for key, value in environment.items() if key in names}
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
        name = str(item["loc"][0])
        shown = "(hidden)" if is_secret(Settings.model_fields[name]) else repr(item["input"])
        problems.append(f"{PREFIX}{name.upper()} is {shown}: {message}")
    return problems


def cache_folder(settings: Settings) -> Path | None:
    """Where what can be made again is kept; None where the user has no home folder either."""
    if settings.cache_dir:
        return Path(settings.cache_dir).expanduser().absolute()
    # the specification has relative paths ignored
    if (base := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return base / "deadpan"
    try:
        return Path.home() / ".cache" / "deadpan"
    except RuntimeError:
        return None


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting may hold a password and is never shown."""
    return "SecretStr" in str(field.annotation)


def describe(settings: Settings) -> list[dict[str, str]]:
    """Every setting as a row: variable, value, default, type and meaning. Secrets are masked."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append(
            {
                "variable": PREFIX + name.upper(),
                "value": _show(name, getattr(settings, name)),
                "default": _show(name, field.default),
                "type": _type_name(field),
                "meaning": field.description or "",
            }
        )
    return rows


def _show(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return without_password(secret) if "://" in secret and name.endswith("url") else "(set)"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def without_password(url: str) -> str:
    """A URL fit to be shown: passwords, also those among its options, are replaced by `***`."""
    url = _SECRET_OPTION.sub(r"\1***", url)
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, separator, credentials = head.partition("://")
    user = credentials.split(":", 1)[0]
    return f"{scheme}{separator}{user}:***@{tail}"


def _type_name(field: FieldInfo) -> str:
    annotation = str(field.annotation)
    if "Literal" in annotation:
        return annotation[annotation.index("[") + 1 : -1].replace("'", "").replace(", ", " | ")
    if "SecretStr" in annotation:
        return "text"
    if annotation.startswith("tuple"):
        return "list"
    names = {int: "whole number", float: "number", str: "text"}
    return names.get(field.annotation, "text") if isinstance(field.annotation, type) else "text"
