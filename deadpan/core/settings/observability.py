"""What operators see: metrics, logs and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deadpan.core.settings.kinds import Group, OnOff


class Observability(Group):
    """Metrics, logs and traces."""

    metrics_port: int = Field(0, ge=0, le=65535)
    """Port for /healthz, /readyz and /metrics of a worker or of housekeeping; 0 turns them off."""
    metrics_host: str = "127.0.0.1"
    """Address that /healthz, /readyz and /metrics listen on."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Log lines below this level are dropped."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto writes readable lines on a terminal and JSON lines elsewhere."""
    traces: OnOff = "off"
    """Whether spans are sent to an OpenTelemetry collector (extra `otel`); OTEL_* variables say
    where and how many."""
