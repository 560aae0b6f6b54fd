"""What bgm raises on purpose. Every message says what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno
from pathlib import Path


class BgmError(Exception):
    """Root of the errors that are meant for the person who runs bgm."""


class ConfigError(BgmError):
    """A setting, or a combination of settings, that cannot work."""


def require(holds: bool, key: str, value: object, legal: str) -> None:
    """Refuse the value of a key unless a condition holds."""
    if not holds:
        raise ConfigError(f"{key}={value}: must be {legal}")


class DataError(BgmError):
    """An image, or a set of images, that cannot be used."""


class CheckpointError(BgmError):
    """A checkpoint that is missing, damaged, unsafe or made for another network."""


class RecordError(BgmError):
    """A file of an earlier run that cannot be understood."""


class WriteError(BgmError):
    """An output that could not be encoded or stored."""


class DiskFullError(WriteError):
    """There is no room for an output, nor for those that follow."""


def write_error(path: Path, error: OSError) -> WriteError:
    """What the system has against writing a file, in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path} cannot be written: the disk is full")
    return WriteError(f"{path} cannot be written: {error.strerror or error}")


class PredictionError(BgmError):
    """A result of the network that is no matte."""

    def __init__(
        self, message: str = "the network returned values that are not finite (NaN or infinity)"
    ) -> None:
        super().__init__(message)
