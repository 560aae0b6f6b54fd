"""What a type of layer is: its settings, what it needs, and what makes it of a matte.

The schema takes the keys of `outputs.<type>` from here, so nothing in this package imports torch:
a setting is refused before that is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from bgm.errors import ConfigError, require
from bgm.layers.rounding import Pixels
from bgm.locations import conf_directory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bgm.inference.matte import Matte

VIDEO_FORMATS = frozenset(path.stem for path in (conf_directory() / "formats").glob("*.yaml"))
"""Formats of videos: each is a file in `conf/formats/`."""

if TYPE_CHECKING:
    Format = Enum("Format", ["png", "jpg", "webp", "tiff", "exr"])
else:
    Format = Enum("Format", ["png", "jpg", "webp", "tiff", "exr", *sorted(VIDEO_FORMATS)])


@dataclass
class LayerSettings:
    """What can be set of every layer; a type adds its own in a subclass."""

    format: Format = Format.jpg
    quality: int = 95


@dataclass
class DeepSettings(LayerSettings):
    """What can be set of layers that may have more than 8 bits."""

    bits: int = 8


@dataclass
class ColourSettings(DeepSettings):
    """What can be set of layers with colours."""

    linear: bool = True


@dataclass(frozen=True)
class LayerSpec:
    """How a layer is stored.

    Attributes:
        type: Name of its type.
        format: `png`, `jpg`, `webp`, `tiff` or `exr`; or one of `VIDEO_FORMATS`.
        quality: Of JPEG and WebP, 1 to 100.
        bits: 8, or 16 in PNG, TIFF and some formats of videos.
        premultiplied: Whether the colours are multiplied by the alpha beside them.
        linear: Whether EXR has the colours in linear light, instead of with the curve of sRGB.
    """

    type: str
    format: str
    quality: int = 95
    bits: int = 8
    premultiplied: bool = False
    linear: bool = True


@dataclass(frozen=True)
class LayerSource:
    """What a layer can be made of.

    Attributes:
        matte: Alpha and foreground as they are to be stored, on the device that computed them.
        pixels: The same in 8 bits, (H, W, 4), uint8, on the host.
        src: The photograph, (3, H, W), uint8 or float32 in [0, 1], on the host.
        bgr: Its plate as the network saw it, aligned if that was asked for; likewise.
        extended: Whether the colours outside the subject mean something.
        seconds: When the frame of a clip is shown, since the clip's first; 0 of a photograph.
    """

    matte: Matte
    pixels: NDArray[np.uint8]
    src: Tensor
    bgr: Tensor
    seconds: Fraction = Fraction(0)
    extended: bool = False


Settings = TypeVar("Settings", bound=LayerSettings)


class Layer(ABC, Generic[Settings]):
    """A type of layer, with its settings for one run.

    Attributes:
        name: Its name in `outputs.types`, its key under `outputs`, its folder in a run's.
        shows: What it is, for messages.
        channels: Channels that it has at most.
        formats: Formats that it can be stored in.
        paths: Keys of its settings that are paths.
        needs_refiner: Whether only a network with a refiner has it.
        settings_type: The class of its settings.
    """

    name: ClassVar[str]
    shows: ClassVar[str]
    channels: ClassVar[int]
    formats: ClassVar[tuple[Format, ...]] = tuple(Format)
    paths: ClassVar[tuple[str, ...]] = ()
    needs_refiner: ClassVar[bool] = False
    settings_type: ClassVar[type[Any]] = LayerSettings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Refuse settings that cannot work; a type adds what it knows of its own.

        Raises:
            ConfigError: It names the key.
        """
        key, quality, kind = f"outputs.{cls.name}", settings.quality, settings.format
        require(1 <= quality <= 100, f"{key}.quality", quality, "from 1 to 100")
        if kind not in cls.formats:
            legal = ", ".join(legal.name for legal in cls.formats)
            raise ConfigError(f"{key}.format={kind.name}: must be one of {legal}")
        if not isinstance(settings, DeepSettings):
            return
        require(settings.bits in (8, 16), f"{key}.bits", settings.bits, "8 or 16")
        is_shallow = kind.name not in {"png", "tiff", "exr"} | VIDEO_FORMATS
        if settings.bits == 16 and is_shallow:
            raise ConfigError(
                f"{key}.bits=16 does not fit {key}.format={kind.name}, which has 8 bits; choose "
                f"{key}.format=png or tiff"
            )

    @classmethod
    def check_files(cls, settings: Settings) -> None:
        """Refuse settings that name files which are not there.

        Raises:
            ConfigError: It names the key.
        """

    @property
    def spec(self) -> LayerSpec:
        """How it is stored."""
        known = {field.name for field in fields(LayerSpec)} - {"type", "format"}
        given = {key: value for key, value in vars(self.settings).items() if key in known}
        return LayerSpec(self.name, self.settings.format.name, **given)

    @property
    def depth(self) -> int:
        """Bits of what is built: 8, 16, or 32 for floats, which EXR takes."""
        if self.settings.format is Format.exr:
            return 32
        return self.spec.bits

    @abstractmethod
    def build(self, source: LayerSource) -> Pixels:
        """Make the layer of one matte.

        Raises:
            BgmError: The network that made the matte has no such layer.
        """


LAYERS: dict[str, type[Layer[Any]]] = {}
"""The types of layers by name."""

Registered = TypeVar("Registered", bound=type[Layer[Any]])


def register_layer(name: str) -> Callable[[Registered], Registered]:
    """Register a type of layer as `<name>` in `outputs.types`, with the settings `outputs.<name>`.

    Args:
        name: A name that is no other key under `outputs`.
    """

    def register(layer: Registered) -> Registered:
        layer.name = name
        LAYERS[name] = layer
        return layer

    return register
