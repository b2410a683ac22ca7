"""Engines: what runs the encoders. All give the same features within `TOLERANCE`."""

from models.engines.base import TOLERANCE, Engine

__all__ = ["TOLERANCE", "Engine"]
