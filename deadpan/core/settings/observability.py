"""What operators see: metrics, logs and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deadpan.core.settings.kinds import Group, OnOff


class Observability(Group):
    """Metrics, logs and traces."""

    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port for /healthz, /readyz and /metrics of a worker or of housekeeping; "
        "0 turns them off.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address that /healthz, /readyz and /metrics listen on."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log lines below this level are dropped."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto writes readable lines on a terminal and JSON lines elsewhere."
    )
    traces: OnOff = Field(
        "off",
        description="Whether spans are sent to an OpenTelemetry collector (extra `otel`); OTEL_* "
        "variables say where and how many.",
    )
