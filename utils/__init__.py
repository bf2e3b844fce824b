"""Metrics, image files, logs, evaluation, training."""
