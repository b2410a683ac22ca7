"""The model as the settings want it: one place for workers and for the command line."""

from __future__ import annotations

from deadpan.settings import Settings, cache_folder
from models.classifier import Classifier
from models.feature_cache import FeatureStore
from models.ocr import Reader


def load_classifier(
    settings: Settings,
    *,
    model: str | None = None,
    feature_cache_bytes: int = 0,
    feature_store: FeatureStore | None = None,
) -> Classifier:
    """Load a model.

    Args:
        model: a preset or a checkpoint folder, instead of the settings' own.
        feature_cache_bytes: of memory, for features of pictures that were seen before.
        feature_store: keeps such features for other processes too.

    Raises:
        ModelError: the device, the engine or the extra `ocr` is not there.
        CheckpointError: the checkpoint cannot be used.
    """
    return Classifier.load(
        model or settings.model,
        device=settings.device,
        engine=settings.engine,
        cache_dir=cache_folder(settings),
        compiled=settings.torch_compile == "on",
        max_image_pixels=settings.max_image_pixels,
        ocr=Reader() if settings.ocr == "on" else None,
        feature_cache_bytes=feature_cache_bytes,
        feature_store=feature_store,
    )
