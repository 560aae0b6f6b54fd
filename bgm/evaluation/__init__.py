"""Scores of mattes against the truth."""

from bgm.evaluation.scores import METRICS, alpha_errors, foreground_mse, unknown_band
from bgm.evaluation.truth import Scorer, Scores, unknown_only

__all__ = [
    "METRICS",
    "Scorer",
    "Scores",
    "alpha_errors",
    "foreground_mse",
    "unknown_band",
    "unknown_only",
]
