"""The steps in their order: garbage, despeckle, fill, levels, choke, feather, colours, despill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from bgm.config.edges import EdgesConfig, ForegroundFrom
from bgm.data.pixels import as_pixels
from bgm.errors import ConfigError
from bgm.inference.images import ImageLike, to_tensor
from bgm.inference.matte import Matte
from bgm.locations import conf_directory
from bgm.outputs.edges import alpha as steps
from bgm.outputs.edges import colours
from bgm.outputs.edges.masks import Masks


class Edges:
    """Changes mattes as a configuration says.

    Args:
        config: The steps. At least one of them does something.

    Attributes:
        masks: The garbage mattes, if there are any.
        extends: Whether colours outside the subject mean something.

    Raises:
        ConfigError: A step needs an extra that is not installed, or a mask that is not there.
        DataError: The masks cannot be used.
    """

    def __init__(self, config: EdgesConfig) -> None:
        if config.foreground is ForegroundFrom.ml and find_spec("pymatting") is None:
            raise ConfigError(
                "edges.foreground=ml needs pymatting: pip install 'bgm[ml]', or choose unmix"
            )
        self._config = config
        self.masks = Masks(config.garbage) if config.garbage is not None else None
        self.extends = config.extend

    def inputs(self, name: str) -> Mapping[str, Path]:
        """The files, beside photograph and plate, that the edges of an image depend on, by kind."""
        return {} if self.masks is None else {"garbage": self.masks.path(name)}

    def __call__(self, matte: Matte, src: Tensor, bgr: Tensor, name: str = "") -> Matte:
        """Change one matte.

        Args:
            matte: The matte; it stays as it is.
            src: The photograph, (3, H, W), uint8 or float32 in [0, 1], on the host.
            bgr: Its plate as the network saw it, likewise.
            name: The photograph's name, by which its mask is found.

        Returns:
            The matte with other alpha or foreground, on the host.

        Raises:
            DataError: Its mask is missing or of another shape.
        """
        if matte.alpha.device.type != "cpu":
            matte = matte.cpu()
        alpha = np.ascontiguousarray(matte.alpha[0].numpy())
        foreground = _colours(matte)
        if self._config.changes_alpha:
            alpha = self._clean(alpha, name)
        if self._config.changes_colours:
            foreground = self._recolour(foreground, alpha, as_pixels(src), as_pixels(bgr))
        merged = cv2.cvtColor(foreground, cv2.COLOR_RGB2RGBA)
        rgba = torch.from_numpy(cv2.insertChannel(alpha, merged, 3))
        planes = rgba.permute(2, 0, 1)
        return replace(matte, alpha=planes[3:], foreground=planes[:3], rgba=rgba)

    def _clean(self, alpha: steps.Plane, name: str) -> steps.Plane:
        config = self._config
        if self.masks is not None:
            height, width = alpha.shape
            alpha = steps.keep_inside(alpha, self.masks(name, (height, width)))
        if config.despeckle:
            alpha = steps.despeckle(alpha, config.despeckle, config.seed)
        if config.fill:
            alpha = steps.fill(alpha, config.fill, config.seed)
        if (config.black, config.white, config.gamma) != (0, 1, 1):
            alpha = steps.levels(alpha, config.black, config.white, config.gamma)
        if config.choke:
            alpha = steps.choke(alpha, config.choke)
        if config.feather:
            alpha = steps.feather(alpha, config.feather)
        return np.ascontiguousarray(alpha, np.float32)

    def _recolour(
        self, foreground: colours.Colours, alpha: steps.Plane, photo: Any, plate: Any
    ) -> colours.Colours:
        config = self._config
        if config.foreground is ForegroundFrom.unmix:
            foreground = colours.unmix(foreground, alpha, photo, plate, config.pull)
        elif config.foreground is ForegroundFrom.blur:
            foreground = colours.blur_fusion(photo, plate, alpha)
        elif config.foreground is ForegroundFrom.ml:
            foreground = colours.multi_level(photo, alpha)
        if config.despill:
            foreground = colours.despill(foreground, alpha, plate, config.despill)
        if config.extend:
            foreground = colours.extend(foreground, alpha)
        return np.ascontiguousarray(foreground, np.float32)


def _colours(matte: Matte) -> colours.Colours:
    """A copy of the foreground of a matte on the host, (H, W, 3)."""
    if matte.rgba is not None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(matte.rgba), cv2.COLOR_RGBA2RGB))
    return np.array(as_pixels(matte.foreground), order="C")


def edit_edges(
    matte: Matte, src: ImageLike, bgr: ImageLike, edges: str = "standard", **settings: Any
) -> Matte:
    """Clean the edges of one matte, from Python.

    Args:
        matte: What `load_matting(...)` returned for the two images.
        src: The photograph.
        bgr: Its plate.
        edges: `standard`, `none`, or another file of `conf/edges`.
        **settings: Settings that differ from it, such as `foreground="ml"` or `choke=0.5`.

    Returns:
        The matte with other alpha or foreground, on the host.

    Raises:
        ConfigError: There is no such setting, it has no such value, or it needs an extra.
    """
    path = conf_directory() / "edges" / f"{edges}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ConfigError(f"edges={edges}: no such choice; there are {known}")
    try:
        file: Any = OmegaConf.load(path)
        chosen = {**{key: file[key] for key in file if key != "defaults"}, **settings}
        config: Any = OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(EdgesConfig), chosen)
        )
    except OmegaConfBaseException as error:
        raise ConfigError(f"edges.{error.full_key}: {str(error).splitlines()[0]}") from None
    return Edges(config)(matte, to_tensor(src), to_tensor(bgr))
