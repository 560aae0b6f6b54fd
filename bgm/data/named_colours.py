"""Colours as people write them."""

from __future__ import annotations

from PIL import ImageColor


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """Red, green and blue, 0 to 255, of a colour like `white`, `#00ff88` or `rgb(0, 255, 136)`.

    A hexadecimal colour may come without its `#`, which a shell and Hydra both need quoted.
    None if it is no colour.
    """
    for candidate in (text, f"#{text}"):
        try:
            return ImageColor.getrgb(candidate)[:3]
        except ValueError:
            continue
    return None
