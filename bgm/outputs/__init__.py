"""From mattes to files."""

from bgm.layers import LayerSpec, Pixels
from bgm.outputs.encode import EXTENSIONS, encode
from bgm.outputs.layers import LayerBuilder, to_image, to_rgba8
from bgm.outputs.previews import checkerboard, strip
from bgm.outputs.sinks import PictureFolders, Sink, output_path
from bgm.outputs.writer import Writer

__all__ = [
    "EXTENSIONS",
    "LayerBuilder",
    "LayerSpec",
    "PictureFolders",
    "Pixels",
    "Sink",
    "Writer",
    "checkerboard",
    "encode",
    "output_path",
    "strip",
    "to_image",
    "to_rgba8",
]
