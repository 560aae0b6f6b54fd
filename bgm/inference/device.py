"""Makes the most of the machine: processors shared out between stages, memory kept for reuse."""

from __future__ import annotations

import ctypes
import os
import sys

import cv2
import torch

from bgm.data.processors import usable_cpus

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt
_MOST_HELPERS = 4


def synchronize(device: torch.device) -> None:
    """Wait until the work queued on `device` is done; on the CPU nothing ever is.

    On CUDA that is the current stream's; copies of the next images go on beside it.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def helper_threads(threads: int) -> int:
    """Threads that decode, or that write, beside a network that computes with `threads`."""
    return max(1, min(_MOST_HELPERS, threads))


def default_threads() -> int:
    """Threads to compute with: one for each processor, or as many as the environment grants."""
    granted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(granted) if granted.isdecimal() and int(granted) else usable_cpus()


def set_threads(threads: int) -> None:
    """Compute with that many threads, in torch and in OpenCV."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next image, where it can be told to (glibc).

    By default it returns every large buffer to the system and gets it back page by page, which
    costs about as much time as the network itself. What a process keeps is bounded by its peak.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        library.malloc_trim(0)  # what an earlier job of a sweep has kept
