"""Deadpan reads a post's words and pictures together and says what needs a human."""

__version__ = "0.1.0"
