"""Where layers go. A sink takes the layers of one image and keeps all of them, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bgm.data.metadata import Metadata
from bgm.layers import LayerSpec, Pixels
from bgm.outputs.encode import EXTENSIONS, encode
from bgm.records.atomic import write_together


class Sink(Protocol):
    """Keeps the layers of images; used by several threads at once."""

    def store(
        self, name: str, layers: Mapping[str, Pixels], metadata: Metadata | None = None
    ) -> dict[str, str]:
        """Keep the layers of one image.

        Args:
            name: Its name.
            layers: Its layers by type.
            metadata: What the photograph says of itself, for the layers to say too.

        Returns:
            Where each is, by type, relative to the run's directory.

        Raises:
            WriteError: They cannot be kept; then none is.
        """

    def discard(self, name: str) -> None:
        """Remove what there is of one image, from this run or an earlier one."""


def output_path(root: Path, spec: LayerSpec, name: str) -> Path:
    """Where the layer `spec` of the image `name` is stored: `<root>/<type>/<name>.<ext>`."""
    return root / spec.type / f"{name}{EXTENSIONS[spec.format]}"


class PictureFolders:
    """A folder of pictures for each type of layer, inside the run's directory.

    Args:
        root: The run's directory.
        specs: How each layer is stored.
        png_level: Compression of PNG, 0 to 9.
        earlier: Files of earlier runs that give way, by image, relative to `root`.
    """

    def __init__(
        self,
        root: Path,
        specs: Sequence[LayerSpec],
        png_level: int,
        earlier: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._root = root
        self._specs = specs
        self._png_level = png_level
        self._earlier = earlier or {}

    def store(
        self, name: str, layers: Mapping[str, Pixels], metadata: Metadata | None = None
    ) -> dict[str, str]:
        """Encode and store the layers of one image; files of an earlier run give way."""
        paths = {spec.type: output_path(self._root, spec, name) for spec in self._specs}
        write_together(
            {
                paths[spec.type]: encode(layers[spec.type], spec, self._png_level, metadata)
                for spec in self._specs
            }
        )
        for stale in self._known(name) - set(paths.values()):
            stale.unlink(missing_ok=True)
        return {kind: path.relative_to(self._root).as_posix() for kind, path in paths.items()}

    def discard(self, name: str) -> None:
        """Remove the files of one image."""
        mine = {output_path(self._root, spec, name) for spec in self._specs}
        for path in mine | self._known(name):
            path.unlink(missing_ok=True)

    def _known(self, name: str) -> set[Path]:
        """What an earlier run stored of an image."""
        return {
            self._root / file
            for file in self._earlier.get(name, ())
            if not Path(file).is_absolute() and ".." not in Path(file).parts
        }
