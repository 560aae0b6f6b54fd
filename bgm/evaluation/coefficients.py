"""What the suspicion of a check is made of; written by `scripts/fit_check.py`."""

LEAST_ERROR: float = 0.00010

COEFFICIENTS: dict[str, float] = {
    "uncertain": 0.3321,
    "plate_through": 0.56465,
    "residual_edge": 0.05424,
}
