"""Everything that can be refused before any work starts."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from bgm.config.schema import Config
from bgm.config.video import DataKind
from bgm.data import Pair
from bgm.data.kinds import why_missing
from bgm.data.plates import MEDIAN
from bgm.data.sets import why_no_part
from bgm.data.video.plates import own_plate
from bgm.data.video.sequence import is_pattern
from bgm.errors import ConfigError
from bgm.layers import LAYERS, Format, LayerSpec
from bgm.storage import RemotePath, is_remote, local_copy, locate, write_object

log = logging.getLogger(__name__)

_LOOKED_AT = 20
_BYTES_PER_PIXEL = {
    "png": 0.8,
    "jpg": 0.3,
    "webp": 0.3,
    "tiff": 1.0,
    "exr": 1.5,
}  # and channel, cautiously


def check_paths(config: Config, output_dir: Path) -> None:
    """Refuse paths that do not exist, or that cannot go together.

    Raises:
        ConfigError: It names the key.
    """
    for key in ("src", "bgr", "pha", "fgr", "trimap"):
        path = getattr(config.data, key)
        if path is None or (key == "bgr" and path == MEDIAN):
            continue
        if config.data.kind is DataKind.video and _is_of_clips(key, path):
            continue
        if not locate(path).exists():
            root = config.data.root
            named = getattr(config.data.folders, key)
            if root is not None and Path(path) == locate(root) / named:
                raise ConfigError(why_no_part(locate(root), key, named))
            raise ConfigError(f"data.{key}={path}: {why_missing(locate(path))}")
        if output_dir.resolve() == locate(path).resolve():
            raise ConfigError(
                f"output_dir={output_dir} is also data.{key}; choose another directory"
            )
    if config.checkpoints_dir is not None and not locate(config.checkpoints_dir).is_dir():
        raise ConfigError(f"checkpoints_dir={config.checkpoints_dir}: no such directory")
    if config.data.plate.name != "name" and not locate(config.data.bgr).is_dir():
        raise ConfigError(
            f"data.plate={config.data.plate.name} chooses among the files of a directory, but "
            f"data.bgr={config.data.bgr} is one file"
        )
    for name in config.outputs.types:
        is_exr = config.outputs.layer(name).format is Format.exr
        if is_exr and find_spec("OpenEXR") is None:
            raise ConfigError(
                f"outputs.{name}.format=exr needs OpenEXR: pip install 'bgm[exr]' (Python 3.11 or "
                "newer), or choose tiff"
            )
    for name, layer in LAYERS.items():
        layer.check_files(config.outputs.layer(name))


def _is_of_clips(key: str, path: str) -> bool:
    """Whether a setting names no file, but where in clips or in which files to look."""
    if key == "bgr" and own_plate(path) is not None:
        return True
    return is_pattern(Path(path)) and Path(path).parent.is_dir()


def create_output_dir(output_dir: Path) -> None:
    """Make the run's directory.

    Raises:
        ConfigError: It cannot be made or written to.
    """
    probe = output_dir / ".bgm-probe.part"
    try:
        if isinstance(probe, RemotePath):
            write_object(probe, b"")
        else:
            output_dir.mkdir(parents=True, exist_ok=True)
            probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output_dir={output_dir} cannot be written: {error.strerror}") from None


def warn_of_little_space(
    pairs: Sequence[Pair], specs: Sequence[LayerSpec], output_dir: Path
) -> None:
    """Log a warning if the disk may not have room for the outputs, by a cautious estimate.

    The sizes of a few photographs are taken for all of them; remote storage is never full.
    """
    if is_remote(output_dir):
        return
    pixels = [
        size for pair in pairs[:: max(1, len(pairs) // _LOOKED_AT)] if (size := _pixels(pair))
    ]
    if not pixels:
        return
    per_pixel = sum(_BYTES_PER_PIXEL[spec.format] * LAYERS[spec.type].channels for spec in specs)
    needed = len(pairs) * sum(pixels) / len(pixels) * per_pixel
    free = shutil.disk_usage(output_dir).free
    if needed > free:
        sizes = needed / 1e9, free / 1e9
        log.warning("the outputs may need %.1f GB, of which %.1f GB are free", *sizes)


def _pixels(pair: Pair) -> int | None:
    try:
        with local_copy(pair.src) as file, Image.open(file) as image:
            return image.width * image.height
    except Exception:  # whatever is wrong with it is said when its turn comes
        return None
