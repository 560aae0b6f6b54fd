"""Prints the lowest version that pyproject.toml allows of each dependency, as pip's constraints.

Usage: python scripts/lowest.py [EXTRA ...] > constraints.txt   (where bgm is installed)

`make lowest` installs these and runs a few tests, so that no bound claims more than is true.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement


def lowest(requirement: Requirement) -> str | None:
    """The pin of a requirement's lower bound, as `numpy==1.26`; None if it has none."""
    bounds = [part.version for part in requirement.specifier if part.operator == ">="]
    return f"{requirement.name}=={bounds[0]}" if bounds else None


def main() -> None:
    """Print a pin a line, for what running needs and what the named extras add."""
    for text in requires("bgm") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": e}) for e in sys.argv[1:])
        if wanted and (pin := lowest(requirement)):
            print(pin)


if __name__ == "__main__":
    main()
