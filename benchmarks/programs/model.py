"""The model for whatever is no Deadpan worker."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, cast

from deadpan.core import settings
from models.serving.classifier import Classifier


def load_classifier() -> Classifier:
    """The very model and engine that a worker loads by these settings, warm.

    `worker/model.py` is loaded from its file: importing the package `worker` would define Deadpan's
    Celery app, whose signal handlers would start a whole Deadpan worker in a peer's Celery.
    """
    path = Path(__file__).parents[2] / "worker" / "model.py"
    spec = importlib.util.spec_from_file_location("bench_worker_model", path)
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classifier = cast(Classifier, module.load_classifier(settings.load()))
    classifier.warm()
    return classifier
