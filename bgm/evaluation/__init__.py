"""Scores of mattes against the truth."""

from bgm.evaluation.scores import METRICS, alpha_errors, foreground_mse, unknown_band

__all__ = ["METRICS", "alpha_errors", "foreground_mse", "unknown_band"]
