"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("sys/fs/cgroup")


def usable_cpus(root: Path = Path("/")) -> int:
    """Processors that this process may use: those it is bound to, or its container's fewer.

    Args:
        root: Where the system's files begin.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    # A share of a processor is worth a thread, or it would stand idle.
    return min([count, *(math.ceil(quota) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """Processors' worth of time that each control group around this process grants, of Linux."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux, or no such files in this container
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree, version 1 one for each controller. A container sees its own group
        # as the top, though the path may be the host's; so every level that is there is asked.
        trees = ["", "unified"] if not controllers else [controllers, "cpu"]
        levels = [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]
        for folder in (root / _GROUPS / tree / level for tree in trees for level in levels):
            granted = _quota(folder)
            if granted is not None:
                yield granted


def _quota(folder: Path) -> float | None:
    """What one control group grants, in processors; None if it has no limit or is not there."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text().strip() for name in names)
        granted = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # also `max`, which is no limit
        return None
    return granted if granted > 0 else None
