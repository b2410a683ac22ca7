"""The foundation: settings, errors, logs and what else every package uses."""

__version__ = "0.1.0"
