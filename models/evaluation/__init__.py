"""Measuring a model on labelled posts."""
