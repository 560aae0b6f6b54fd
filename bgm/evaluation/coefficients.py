"""What the suspicion of a check is made of; written by `scripts/fit_check.py`."""

INTERCEPT: float = -6.6165

COEFFICIENTS: dict[str, float] = {
    "residual_edge": 0.7953,
    "residual_foreground": 0.0,
    "residual_background": 0.0,
    "uncertain": 0.521,
    "uncertain_of_subject": 0.4022,
    "islands": 0.0,
    "holes": 0.0,
    "at_frame": 0.0101,
    "missed": 0.0,
    "plate_kept": 0.3713,
}
