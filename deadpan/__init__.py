"""Deadpan reads a post's words and pictures together and says what needs a human."""

from deadpan.core import __version__

__all__ = ["__version__"]
