"""Structured logs: one event a line, with post id, chunk and stage where known."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import unicodedata
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

from deadpan.core.errors import ConfigurationError, DeadpanError

STYLES: Final = ("auto", "json", "console")

_for_machines = False
"""Whether standard error is a log of JSON lines; before `configure` it is for people."""

_KEPT = frozenset("\n\t")
# control, format (bidirectional overrides among them), surrogate, line and paragraph separators
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def shown(text: str, *, lines: bool = False) -> str:
    """Text from outside made safe for a terminal: whatever would move the cursor, change colours,
    turn the reading direction or begin another line is escaped.

    Args:
        lines: whether its line breaks and tabs are our own and stay.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = _KEPT if lines else frozenset()
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in _ESCAPED and c not in kept else c for c in text
    )


def _fit_for_a_terminal(
    logger: Any, name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key != "exception":
            event[key] = shown(value if isinstance(value, str) else repr(value))
        else:
            # indented, for an error's text may have line breaks: none of them begins an event
            event[key] = textwrap.indent(shown(value, lines=True), "    ")
    return event


def begin() -> None:
    """Make standard error a log from here on, in the form that the environment asks for.

    For serving processes, before the settings are read, so that even an error in those has that
    form.
    """
    style = os.environ.get("DEADPAN_LOG_FORMAT", "auto")
    configure(style=style if style in STYLES else "auto")
    logging.captureWarnings(True)
    if _for_machines:
        sys.excepthook = _unforeseen


def _unforeseen(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    log = structlog.get_logger(__name__)
    log.critical("ended by an unforeseen error", exc_info=(kind, error, trace))


def complain(error: DeadpanError) -> None:
    """Print on standard error what ends this process, one problem a line."""
    problems = error.problems if isinstance(error, ConfigurationError) else (str(error),)
    for problem in problems:
        if _for_machines:
            structlog.get_logger(__name__).error("ended by an error", error=problem)
        else:
            sys.stderr.write(f"error: {shown(problem, lines=True)}\n")


def warn(text: str) -> None:
    """Print on standard error what is allowed but most likely not meant."""
    if _for_machines:
        structlog.get_logger(__name__).warning(text)
    else:
        sys.stderr.write(f"warning: {shown(text, lines=True)}\n")


def configure(level: str = "info", style: str = "auto") -> None:
    """Send structlog and the standard library's logging to standard error in one form.

    Args:
        level: debug, info, warning or error.
        style: console for people, json for machines, auto to choose by the terminal.
    """
    global _for_machines
    for_people = style == "console" or (style == "auto" and sys.stderr.isatty())
    _for_machines = not for_people
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        # Filtered lines are not even built: there are some for each post.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Not the renderer's tracebacks, which would show the values of variables, secrets among them.
    # JSON escapes what is not ASCII, so only people need the other processor.
    last: list[Any] = [structlog.processors.format_exc_info]
    last += (
        [_fit_for_a_terminal, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if for_people
        else [structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Celery logs every message and result at info; a chunk has its own event.
    for noisy in (
        *("celery.worker.strategy", "celery.app.trace"),
        *("kombu", "urllib3", "authlib", "alembic"),
    ):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
