"""How many processors this process may use, and who goes first on them."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("sys/fs/cgroup")
POLITE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
"""What `wait_politely` says in the environment, unless any of it is said already."""

_LEAST = 19  # of priorities; the network has 0


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


def wait_politely() -> None:
    """Have the threads of OpenMP, which compute networks, soon sleep while they wait.

    Decoding and encoding need processors too. Not at once, because waking takes time: 10,000 turns
    are 20 to 50 microseconds. To be called before torch is imported; what the environment says
    already holds.
    """
    if not POLITE.keys() & os.environ.keys():
        os.environ.update(POLITE)


def give_way() -> None:
    """Let the thread that calls this, and those it starts, run where the network leaves a gap.

    What decodes and encodes beside the network would else take a processor from one of its threads
    while the others wait for that one. For Linux; elsewhere priorities are those of processes.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
