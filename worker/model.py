"""The model as the settings want it: one place for workers and for the command line."""

from __future__ import annotations

import hashlib

import structlog

from deadpan.core.errors import CheckpointError, DeadpanError, ModelError
from deadpan.core.settings import Settings, cache_folder
from models.checkpoint.checkpoint import read_info
from models.posts.ocr import Reader
from models.serving.classifier import Classifier, ModelInfo
from models.serving.feature_cache import FeatureStore
from tasks.intake.intake import Intake

log = structlog.get_logger(__name__)

LEFT_OUT_SECONDS = 6 * 3600
"""How long no worker loads a challenger that broke the device: that cost the champion a start."""


def load_classifier(
    settings: Settings,
    *,
    model: str | None = None,
    engine: str | None = None,
    feature_cache_bytes: int = 0,
    feature_store: FeatureStore | None = None,
) -> Classifier:
    """Load a model.

    Args:
        model: a preset or a checkpoint folder, instead of the settings' own.
        engine: instead of the settings' own.
        feature_cache_bytes: of memory, for features of pictures that were seen before.
        feature_store: keeps such features for other processes too.

    Raises:
        ModelError: the device, the engine or the extra `ocr` is not there.
        CheckpointError: the checkpoint cannot be used.
    """
    return Classifier.load(
        model or settings.model,
        device=settings.device,
        engine=engine or settings.engine,
        cache_dir=cache_folder(settings),
        compiled=settings.torch_compile == "on",
        max_image_pixels=settings.max_image_pixels,
        ocr=Reader() if settings.ocr == "on" else None,
        feature_cache_bytes=feature_cache_bytes,
        feature_store=feature_store,
    )


def load_challenger(settings: Settings, champion: Classifier) -> Classifier | None:
    """Load the challenger, warm; None where it is the champion itself, as after a takeover.

    It runs on the champion's engine: measuring which is faster, beside a champion at work, would
    measure the champion too, and the result is kept. Where that engine cannot run it, torch does,
    unless the settings insist.

    Raises:
        ModelError, CheckpointError: it cannot be loaded.
    """
    try:
        checkpoint = read_info(settings.challenger)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace("DEADPAN_MODEL", "DEADPAN_CHALLENGER")) from error
    if (checkpoint.version, checkpoint.calibration.version) == (
        champion.checkpoint.version,
        champion.info.calibration_version,
    ):
        log.warning(
            "DEADPAN_CHALLENGER is the model that judges already; there is nothing to compare",
            model=checkpoint.version,
        )
        return None
    found = _load_on(settings, champion.info)
    found.warm()
    return found


def leave_challenger_out(intake: Intake, settings: Settings, why: str) -> None:
    """Tell all workers not to load the challenger for a while."""
    try:
        intake.put(_left_out_key(settings), why[:1000], seconds=LEFT_OUT_SECONDS)
    except DeadpanError as error:
        log.warning("other workers will load the challenger too", error=str(error))


def require_allowed(intake: Intake, settings: Settings) -> None:
    """Raises ModelError while the challenger is to be left out."""
    key = _left_out_key(settings)
    if intake.get(key) is not None:
        raise ModelError(
            "it broke the device that both models run on, less than "
            f"{LEFT_OUT_SECONDS // 3600} hours ago; to try it sooner, "
            f"redis-cli DEL {intake.key(key)} and restart the worker"
        )


def _left_out_key(settings: Settings) -> str:
    return f"challenger-left-out:{hashlib.sha256(settings.challenger.encode()).hexdigest()[:16]}"


def _load_on(settings: Settings, champion: ModelInfo) -> Classifier:
    size = settings.feature_cache_bytes
    try:
        return load_classifier(
            settings, model=settings.challenger, engine=champion.engine, feature_cache_bytes=size
        )
    except ModelError as error:
        if settings.engine != "auto" or champion.engine == "torch":
            raise
        log.warning("challenger runs on torch", error=str(error))
        return load_classifier(
            settings, model=settings.challenger, engine="torch", feature_cache_bytes=size
        )
