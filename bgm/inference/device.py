"""All that bgm knows of devices: which to compute on, how to wait for it, its memory, its threads.

Every device torch may bring is known here and nowhere else.
"""

from __future__ import annotations

import ctypes
import os
import sys

import cv2
import torch

from bgm.data.processors import usable_cpus
from bgm.errors import ConfigError

_SUPPORTED = ("cpu", "cuda", "mps")
_NO_MEMORY = (
    "out of memory",  # CUDA, also for pinned memory, and MPS
    "alloc_failed",  # cuDNN, cuBLAS, cuSOLVER and their kin
    "allocation_failed",  # cuDNN from version 9
    "can't allocate memory",  # the host
    "not enough memory",  # the host, on Windows
)
_MIB = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt
_MOST_HELPERS = 4


def select_device(name: str) -> torch.device:
    """Choose the device to compute on.

    Args:
        name: `auto` (CUDA, then MPS, then the CPU), or one of torch's: `cpu`, `cuda`, `cuda:1`,
            `mps`.

    Raises:
        ConfigError: There is no such device, this machine does not have it, or bgm does not
            compute on its kind.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name}: no such device; use auto, cpu, cuda or mps") from None
    if str(device) != name:  # torch keeps a byte of the number, and takes cuda:256 for cuda:0
        raise ConfigError(f"device={name}: no such device; use auto, cpu, cuda or mps")
    if device.type not in _SUPPORTED:
        raise ConfigError(f"device={name}: bgm does not compute there; use auto, cpu, cuda or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            found = f"only {count} CUDA device(s)" if count else "no CUDA device"
            raise ConfigError(f"device={name}: torch finds {found} here; use device=auto")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device={name}: torch finds no Apple GPU here; use device=auto")
    elif device.index:
        raise ConfigError(f"device={name}: there is only one; use device={device.type}")
    return device


def synchronize(device: torch.device) -> None:
    """Wait until the work queued on `device` is done; on the CPU nothing ever is.

    On CUDA that is the current stream's; copies of the next images go on beside it.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the host, has no memory for something.

    Only CUDA's own allocator has a class for that; its libraries, pinned memory, MPS and the host
    say it in the words of a `RuntimeError`.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in said for sign in _NO_MEMORY)


def free_memory(device: torch.device) -> None:
    """Give back what torch holds on the device without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew to look for the most memory that torch holds on a device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> float | None:
    """Most memory that torch held on a CUDA device, in MiB; None for others, which do not tell."""
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / _MIB, 1)


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
