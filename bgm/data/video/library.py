"""PyAV, which everything about videos is done with, loaded when it is first needed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bgm.errors import ConfigError


@lru_cache(maxsize=1)
def load_av() -> Any:
    """The module `av`, silent.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import av
        import av.filter
        import av.video.reformatter
    except ImportError:
        raise ConfigError('videos need PyAV; pip install "bgm[video]"') from None
    av.logging.set_level(None)  # what matters is raised, the rest is chatter on standard error
    return av


# How swscale shall convert: its own numbers, which not every PyAV has names for.
BILINEAR, BICUBIC = 0x2, 0x4
FULL_CHROMA_OUT, FULL_CHROMA_IN, ACCURATE = 0x2000, 0x4000, 0x40000
