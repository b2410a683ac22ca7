"""The console: its address, who may sign in and how, and how moderators share the work."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from deadpan.core.settings.kinds import Group, Networks, OnOff, WebAddress, Words, pairs

Role = Literal["viewer", "moderator", "lead", "admin"]
"""As `storage.tables.ROLES`, without loading a database."""
_RolesOfValues = Annotated[
    dict[str, Role],
    BeforeValidator(pairs("value:role, such as ts-leads:lead")),
]


class Console(Group):
    """The console and its moderators."""

    secret_key: SecretStr | None = None
    """Signs the sign-in form and the cookie of browsers that signed in before, and chooses which
    decisions get a second review; the same for every console process, at least 32 characters. Empty
    makes a new one at each start."""
    console_url: WebAddress = ""
    """The console's address in browsers, e.g. https://deadpan.example; sign-in links begin with it,
    and an OpenID provider redirects to it."""
    trusted_proxies: Networks = ()
    """Proxies in front of the console, e.g. 127.0.0.1,10.1.0.0/16, whose X-Forwarded-For and
    X-Forwarded-Proto headers are trusted. Empty trusts none."""
    console_passwords: OnOff = "on"
    """Whether moderators may sign in with passwords. off needs DEADPAN_OIDC_ISSUER: moderators sign
    in with the provider alone, and `deadpan moderators sign-in-link` helps during its outages."""
    oidc_issuer: WebAddress = ""
    """An OpenID provider that moderators may sign in with: its issuer exactly as it writes it,
    https://… (extra `oidc`). Empty leaves only passwords."""
    oidc_client_id: str = ""
    """This console's client ID at the OpenID provider; the tokens' audience."""
    oidc_client_secret: SecretStr | None = None
    """This console's client secret at the OpenID provider."""
    oidc_scopes: Words = ("openid", "email")
    """Scopes requested from the OpenID provider; some send groups only if a scope asks for them,
    e.g. openid,email,groups."""
    oidc_role_claim: str = ""
    """The claim that gives roles at each sign-in with the OpenID provider: its name or path, e.g.
    groups or realm_access.roles. Empty leaves roles to admins."""
    oidc_roles: _RolesOfValues = Field({})
    """Which role (viewer, moderator, lead, admin) each value of that claim gives, as value:role,
    e.g. trust-safety:moderator,ts-leads:lead. The highest one counts; people without any cannot
    sign in."""
    console_source: OnOff = "on"
    """Whether the console asks DEADPAN_SOURCE for a post when its flag is opened: what it answers,
    and whether it has changed or gone. off leaves threads and changes out."""
    claim_seconds: float = Field(300.0, ge=10.0, le=86_400.0)
    """How long a moderator's claim on a flag lasts without activity."""
    second_review_share: float = Field(0.05, ge=0.0, le=1.0)
    """Share of decisions that a second moderator reviews too, blind; DEADPAN_SECRET_KEY determines
    which."""
    known_answer_share: float = Field(0.02, ge=0.0, le=1.0)
    """How often the next flag is a second review of one whose answer a lead knows."""
    learned_order: OnOff = "on"
    """Whether the queue learns from decisions what moderators remove, and shows that first within a
    priority. It does so from 200 decisions on, and only while it does better than the order by age
    on decisions that it has not seen."""
    learned_order_hours: float = Field(24.0, gt=0.0, le=720.0)
    """By how many hours the learned order puts a flag ahead of its age at most: what was opened
    later than that never comes before it."""
    learned_order_random_share: float = Field(0.1, ge=0.0, le=1.0)
    """Share of flags that are put ahead by chance instead, so that the learned order can be
    measured."""

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError(
                "it is shorter than 32 characters; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        return value

    @field_validator("console_url", "oidc_issuer")
    @classmethod
    def _without_query(cls, value: str) -> str:
        if "?" in value or "#" in value:
            raise ValueError("write https://HOST, without a query")
        return value

    @field_validator("console_url")
    @classmethod
    def _at_the_root(cls, value: str) -> str:
        if urlsplit(value).path.strip("/"):
            raise ValueError("the console is served at the root of its host; leave the path out")
        return value.rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _https_or_local(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("a provider that is not on this machine needs https://")
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _openid_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if not all("!" <= letter <= "~" and letter not in '"\\' for letter in scope):
                raise ValueError(
                    f"'{scope}' is not a scope; separate scopes with commas, without spaces"
                )
        if "openid" not in value:
            raise ValueError("'openid' is missing; OpenID Connect requires it")
        return value

    @model_validator(mode="after")
    def _oidc_is_complete(self) -> Self:
        needed = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "console_url")
        missing = [_variable(name) for name in needed if not getattr(self, name)]
        given = [_variable(name) for name in needed[:3] if getattr(self, name)]
        if given and missing:
            raise ValueError(
                f"{given[0]} is set but {' and '.join(missing)} not; "
                "signing in with an OpenID provider needs them all"
            )
        if bool(self.oidc_role_claim) != bool(self.oidc_roles):
            pair = [_variable("oidc_role_claim"), _variable("oidc_roles")]
            there, lacking = pair if self.oidc_role_claim else reversed(pair)
            raise ValueError(f"{there} is set but {lacking} not; roles from a provider need both")
        if self.oidc_role_claim and not self.oidc_issuer:
            raise ValueError(
                "DEADPAN_OIDC_ROLE_CLAIM is set but DEADPAN_OIDC_ISSUER not; name a provider"
            )
        if self.console_passwords == "off" and not self.oidc_issuer:
            raise ValueError(
                "DEADPAN_CONSOLE_PASSWORDS is 'off' and DEADPAN_OIDC_ISSUER is not set, so nobody "
                "could sign in; name a provider, or turn passwords on"
            )
        return self


def _variable(name: str) -> str:
    return f"DEADPAN_{name.upper()}"
