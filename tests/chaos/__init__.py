"""Faults on a schedule: what `make chaos` runs for long, and tests/crash for short."""
