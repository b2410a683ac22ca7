"""Finds everything that keeps a worker from its job, before it starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import SecretStr

from deadpan.core import spans
from deadpan.core.errors import ConfigurationError, DeadpanError
from deadpan.core.settings import Settings
from deadpan.core.settings.notifications import notify_urls
from models.checkpoint.checkpoint import read_info, validate
from models.engines import gpus, graphs
from models.engines.loading import torch_needed
from models.engines.openvino_engine import version
from models.posts.prediction import OF_WORDS
from sources.mapping import PostMapping
from sources.open import check_source_spec
from sources.pictures.allowed import ImageLimits
from storage.base.database import connect, read_url, writable_problem
from storage.judging.evidence import EvidenceStore
from storage.migrations.schema import require_schema
from tasks.callbacks.webhook import receiver_problem
from tasks.housekeeping.targets import apprise_targets
from tasks.intake.intake import Intake
from tasks.policy.looks import Looks
from tasks.policy.rules import load_policy

log = structlog.get_logger(__name__)


def source_arguments(settings: Settings) -> dict[str, Any]:
    """Arguments of `sources.open.open_source` that the settings give, without the spec itself."""
    return {
        "token": _secret(settings.source_token),
        "timeout_seconds": settings.fetch_timeout_seconds,
        "limits": ImageLimits(
            max_bytes=settings.max_image_bytes,
            max_images=settings.max_images,
            hosts=settings.image_hosts,
            allowed_networks=settings.allow_private_addresses,
            timeout_seconds=settings.fetch_timeout_seconds,
        ),
        "mapping": PostMapping.parse(settings.source_fields),
        "ids_per_request": settings.chunk_size,
        "database_url": _secret(settings.source_database_url),
        "database_query": settings.source_query or None,
    }


def configuration_problems(settings: Settings) -> list[str]:
    """What is wrong in settings, policy and model, without asking any service."""
    problems = check_source_spec(
        settings.source,
        token=_secret(settings.source_token),
        database_url=_secret(settings.source_database_url),
        database_query=settings.source_query or None,
    )
    for check in (
        lambda: read_url(settings.database_url.get_secret_value()),
        lambda: load_policy(settings.policy),
        lambda: looks_of(settings),
        lambda: PostMapping.parse(settings.source_fields),
    ):
        problems += _problems_of(check)
    if settings.ocr == "on" and importlib.util.find_spec("rapidocr") is None:
        problems.append(
            "DEADPAN_OCR is 'on', and what reads pictures is not installed; "
            "pip install 'deadpan[ocr]', or set it to off"
        )
    if settings.oidc_issuer and importlib.util.find_spec("authlib") is None:
        problems.append(
            "DEADPAN_OIDC_ISSUER is set, and what speaks to OpenID providers is not installed; "
            "pip install 'deadpan[oidc]', or leave it empty"
        )
    problems += _problems_of(lambda: apprise_targets(notify_urls(settings.notify_urls)))
    if settings.traces == "on":
        problems += spans.problems()
    if settings.device == "cuda" and not gpus.torch_uses_gpus():
        problems.append(f"DEADPAN_DEVICE is 'cuda', and {gpus.no_torch_for_gpus()}")
    if settings.engine == "openvino":
        if settings.device == "cuda":
            problems.append(
                "DEADPAN_ENGINE is 'openvino' and DEADPAN_DEVICE is 'cuda'; OpenVINO runs on the "
                "CPU here: set DEADPAN_DEVICE to auto or cpu, or DEADPAN_ENGINE to auto or torch"
            )
        if importlib.util.find_spec("openvino") is None:
            problems.append(
                "DEADPAN_ENGINE is 'openvino', and OpenVINO is not installed; "
                "pip install openvino, or set it to auto or torch"
            )
    if settings.engine == "torch" and importlib.util.find_spec("torch") is None:
        problems.append(
            "DEADPAN_ENGINE is 'torch', and torch is not installed; pip install 'deadpan[gpu]', or "
            "set it to auto or openvino"
        )
    return problems + callback_problems(settings) + model_problems(settings.model)


def model_problems(spec: str) -> list[str]:
    """What keeps a model from being loaded and run with what is installed."""
    found = validate(spec)
    if found or importlib.util.find_spec("torch") is not None:
        return found
    checkpoint = read_info(spec)
    reason = graphs.why_not(checkpoint.config) or (
        "" if version() else "OpenVINO is not installed here"
    )
    return [torch_needed(checkpoint.version, reason)] if reason else []


def looks_of(settings: Settings) -> Looks:
    """Which unflagged posts moderators look at; ConfigurationError without a key to draw by."""
    key = settings.secret_key.get_secret_value() if settings.secret_key else ""
    return Looks(settings.audit_share, key)


def challenger_problems(settings: Settings) -> list[str]:
    """What is wrong with the challenger. It keeps no worker from its job: it is left out."""
    if not settings.challenger:
        return []
    found = model_problems(settings.challenger)
    return [problem.replace("DEADPAN_MODEL", "DEADPAN_CHALLENGER") for problem in found]


def callback_problems(settings: Settings) -> list[str]:
    """What is wrong with the receiver of callbacks, without asking for its name's address."""
    if not settings.callback_url:
        return []
    problem = receiver_problem(settings.callback_url, settings.allow_private_addresses)
    return [] if problem is None else [problem]


@dataclass(slots=True)
class Asked:
    """What services say of themselves: what keeps a worker from its job, and what is unwise."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def service_problems(settings: Settings) -> Asked:
    """What is wrong with Redis, the database and the evidence store, by asking them."""
    asked = Asked()
    asked.problems += _problems_of(lambda: asked.warnings.extend(_ask_redis(settings)))
    asked.problems += _problems_of(lambda: _ask_database(settings))
    asked.problems += _problems_of(lambda: _ask_evidence(settings))
    return asked


def require_redis(intake: Intake) -> None:
    """Log what is unwise about Redis.

    Raises:
        QueueUnfit: it cannot hold an intake.
        QueueUnavailable: it cannot be asked now.
    """
    for warning in intake.look():
        log.warning(warning)


def device_warnings(settings: Settings) -> list[str]:
    """A GPU that workers could not use, although nothing forbids it."""
    if settings.device != "auto" or settings.engine == "openvino":
        return []
    problem = gpus.unusable_problem()
    return [problem] if problem else []


def policy_warnings(settings: Settings) -> list[str]:
    """Rules that never hold with this model, for it gives no such score. Asks no service; what
    cannot be read is a problem and told as one."""
    try:
        rules = load_policy(settings.policy).rules
        asked = read_info(settings.model).config.questions
    except DeadpanError:
        return []
    return [
        f"rule {rule.name!r} of the policy asks for {condition.score!r}, which the model "
        f"{settings.model} does not score, so it never holds; choose another DEADPAN_MODEL or "
        "take the rule out"
        for rule in rules
        for condition in rule.conditions
        if condition.score in OF_WORDS and condition.score not in asked
    ]


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _problems_of(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ConfigurationError as error:
        return list(error.problems)
    except DeadpanError as error:
        return [str(error)]
    return []


def _ask_redis(settings: Settings) -> list[str]:
    intake = Intake.at(settings.redis_url.get_secret_value(), settings.prefix)
    try:
        warnings = intake.look()
        intake.status()
        return warnings
    finally:
        intake.close()


def _ask_database(settings: Settings) -> None:
    database = connect(settings.database_url.get_secret_value())
    try:
        require_schema(database)
        if problem := writable_problem(database):
            raise ConfigurationError(problem)
    finally:
        database.dispose()


def _ask_evidence(settings: Settings) -> None:
    problem = EvidenceStore(settings.evidence_url).writable_problem()
    if problem:
        raise ConfigurationError(problem)
