"""From mattes to files."""

from bgm.outputs.encode import EXTENSIONS, encode
from bgm.outputs.layers import LayerBuilder, LayerSpec, to_image, to_rgba8
from bgm.outputs.previews import checkerboard, strip
from bgm.outputs.writer import Writer, output_path

__all__ = [
    "EXTENSIONS",
    "LayerBuilder",
    "LayerSpec",
    "Writer",
    "checkerboard",
    "encode",
    "output_path",
    "strip",
    "to_image",
    "to_rgba8",
]
