"""What the machine says of itself: processors granted, memory that ran out."""

from __future__ import annotations

import math
import os

import pytest
import torch

from bgm.data.processors import usable_cpus
from bgm.inference.device import is_out_of_memory
from bgm.inference.memory import MemoryMeter


def system(root, files: dict[str, str]):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "sys/fs/cgroup/cpu,cpuacct"
QUOTAS = {
    "version 2, in a container": (
        {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"},
        1.5,
    ),
    "version 2, of a parent": (
        {
            "proc/self/cgroup": "0::/a/b",
            "sys/fs/cgroup/a/cpu.max": "300000 100000",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        },
        3,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "3:memory:/x\n2:cpu,cpuacct:/x",
            f"{V1}/x/cpu.cfs_quota_us": "50000",
            f"{V1}/x/cpu.cfs_period_us": "100000",
        },
        0.5,
    ),
    "version 1, the path is the host's": (
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/docker/abc",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        2,
    ),
    "no limit": ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, math.inf),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "2:cpu:/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        math.inf,
    ),
    "nonsense": ({"proc/self/cgroup": "0::/\nx", "sys/fs/cgroup/cpu.max": "lots"}, math.inf),
    "no control groups": ({}, math.inf),
}


@pytest.mark.parametrize("kind", QUOTAS)
def test_quotas_of_containers_are_respected(tmp_path, monkeypatch, kind):
    files, granted = QUOTAS[kind]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    expected = 8 if granted == math.inf else math.ceil(granted)
    assert usable_cpus(system(tmp_path, files)) == expected


def test_a_quota_of_more_than_there_is_gives_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "1600000 100000"}
    assert usable_cpus(system(tmp_path, files)) == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, ...)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
        MemoryError(),
    ],
    ids=str,
)
def test_every_way_to_run_out_of_memory_is_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of memory")]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_a_host_that_has_no_memory_says_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_cpu_has_no_memory_of_its_own():
    with MemoryMeter(torch.device("cpu")) as meter:
        pass
    assert meter.peak_mib > 1
    assert meter.device_peak_mib is None
