"""Makes the README's picture: each demo pair with its alpha and its cut-out on a checkerboard.

Usage: python scripts/make_picture.py RUN_DIRECTORY docs/demo.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from bgm.config.schema import demo_path

HEIGHT = 300
GAP = 8
NAMES = ("tripod/lemur-mountain", "tripod/lemur-brook", "product/teapot", "handheld/backpack")


def checkerboard(size: tuple[int, int], cell: int = 12) -> Image.Image:
    """A light checkerboard, which shows what is transparent."""
    board = Image.new("RGBA", size, "white")
    draw = ImageDraw.Draw(board)
    for top in range(0, size[1], cell):
        for left in range(top // cell % 2 * cell, size[0], 2 * cell):
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill="#d0d0d0")
    return board


def column(run: Path, name: str) -> Image.Image:
    """Source, background, alpha and cut-out of one pair, below each other."""
    stored = Image.open(run / f"com/{name}.png")
    size = (round(stored.width * HEIGHT / stored.height), HEIGHT)
    cutout = stored.resize(size, Image.Resampling.LANCZOS)
    layers = [
        *(Image.open(Path(demo_path(kind)) / f"{name}.jpg") for kind in ("src", "bgr")),
        Image.open(run / f"pha/{name}.jpg"),
        Image.alpha_composite(checkerboard(size), cutout),
    ]
    tall = Image.new("RGB", (size[0], (HEIGHT + GAP) * len(layers) - GAP), "white")
    for row, layer in enumerate(layers):
        resized = layer.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        tall.paste(resized, (0, row * (HEIGHT + GAP)))
    return tall


def main() -> None:
    """Make the picture."""
    run, target = map(Path, sys.argv[1:3])
    columns = [column(run, name) for name in NAMES]
    width = sum(c.width + GAP for c in columns) - GAP
    picture = Image.new("RGB", (width, columns[0].height), "white")
    left = 0
    for part in columns:
        picture.paste(part, (left, 0))
        left += part.width + GAP
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=88)


if __name__ == "__main__":
    main()
