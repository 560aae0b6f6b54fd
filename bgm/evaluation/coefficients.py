"""What the suspicion of a check is made of; written by `scripts/fit_check.py --write`."""

INTERCEPT: float = 0.0

COEFFICIENTS: dict[str, float] = {}
