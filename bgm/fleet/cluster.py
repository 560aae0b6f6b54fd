"""The Ray cluster that a run works on: found, or started and stopped again."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bgm.config.engine import EngineConfig
from bgm.data.processors import usable_cpus
from bgm.errors import ConfigError

_STORE_BYTES = 200 * 2**20  # rows are paths: no picture passes through Ray
_CPUS_AT_MOST = 4  # for each worker, if nothing is said: the network gains little from more
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Room:
    """What each worker gets.

    Attributes:
        workers: How many there are.
        cpus: Processors for each.
        gpus: GPUs for each.
    """

    workers: int
    cpus: int
    gpus: float


@contextmanager
def connect(engine: EngineConfig, device: str) -> Iterator[Room]:
    """Find the cluster, or start one on this machine; leave it, or stop what was started.

    Args:
        engine: The settings.
        device: Where the network computes, as it is set.

    Raises:
        ConfigError: Ray is not installed, the cluster does not answer, or it has no room.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("engine=ray needs an extra: pip install 'bgm[ray]'")
    # Said before Ray is imported: nothing is sent to anybody, and it logs into its own files.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if engine.address not in ("auto", "local"):
        _knock(engine, engine.address)
    was_connected = ray.is_initialized()
    if not was_connected:
        with _silence():
            _connect(ray, engine)
    try:
        yield _room(ray, engine, device)
    finally:
        if not was_connected:
            with _silence():
                leave()


def leave() -> None:
    """Leave the cluster, or stop it if it was started here; the workers of this run end."""
    import ray

    ray.shutdown()


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard error from below Python, where Ray's core speaks of itself."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _connect(ray: Any, engine: EngineConfig) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = engine.address
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    try:
        if address not in ("", "auto", "local"):
            ray.init(address=address, **quiet)
            return
        if address != "local":
            try:
                ray.init(address="auto", **quiet)
                return
            except ConnectionError:  # there is none on this machine
                pass
        ray.init(
            address="local",
            num_cpus=max(usable_cpus(), (engine.workers or 1) * (engine.cpus or 1)),
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"engine.address={engine.address}: no Ray cluster there: {said}"
        ) from None


def _knock(engine: EngineConfig, address: str) -> None:
    """Refuse an address where nobody listens; Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except ValueError:
        raise ConfigError(
            f"engine.address={engine.address}: no such address; auto, local, host:6379, "
            "ray://host:10001"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"engine.address={engine.address}: the cluster cannot be reached: "
            f"{error.strerror or error}"
        ) from None


def _room(ray: Any, engine: EngineConfig, device: str) -> Room:
    """What each worker gets of what the cluster has.

    Raises:
        ConfigError: It has not so much.
    """
    nodes: list[Mapping[str, float]] = [
        node["Resources"] for node in ray.nodes() if node["Alive"] and "CPU" in node["Resources"]
    ]
    if not nodes:
        raise ConfigError(f"engine.address={engine.address}: the cluster has no processors")
    cpus = engine.cpus or min(_CPUS_AT_MOST, *(int(node["CPU"]) for node in nodes), 10**6)
    cpus = max(1, cpus)
    gpus = engine.gpus
    if gpus is None:
        wants_gpus = device == "auto" or device.startswith("cuda")
        gpus = 1.0 if wants_gpus and any(node.get("GPU") for node in nodes) else 0.0

    def fitting(node: Mapping[str, float]) -> int:
        places = node["CPU"] // cpus
        return int(min(places, node.get("GPU", 0) // gpus) if gpus else places)

    most = sum(map(fitting, nodes))
    wanted = engine.workers or most
    if not 1 <= wanted <= most:
        raise ConfigError(
            f"engine.workers={engine.workers}: the cluster has room for {most} with {cpus} "
            f"processors and {gpus:g} GPUs each"
        )
    return Room(wanted, cpus, gpus)
