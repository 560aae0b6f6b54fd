"""From a configuration as Hydra composed it to one that is checked against its schema."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.config.schema import (
    BenchmarkConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    require,
)
from bgm.config.training import TrainConfig
from bgm.data.named_colours import parse_colour
from bgm.errors import ConfigError

Schema = TypeVar("Schema", Config, EvaluateConfig, CompareConfig, BenchmarkConfig, TrainConfig)

PATHS = (
    *("data.src", "data.bgr", "data.pha", "data.fgr", "data.trimap"),
    *("checkpoint", "checkpoints_dir", "outputs.com.background", "repeat"),
    *("pred", "true", "trimap", "output_dir", "data.alphas", "data.cache"),
)
"""Keys of paths, which may be relative to the current directory."""


def parse_config(raw: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed configuration against its schema.

    Args:
        raw: The configuration as Hydra composed it.
        schema: What it must be.

    Returns:
        The typed configuration, its paths absolute.

    Raises:
        ConfigError: A key is unknown or missing, or a value of the wrong type, out of its range
            or at odds with another.
    """
    missing = sorted(OmegaConf.missing_keys(raw))
    if missing:
        raise ConfigError("missing; pass " + " ".join(f"{key}=..." for key in missing))
    try:
        plain = OmegaConf.to_container(raw, resolve=True)
        for key in _dotted(plain):
            refuse_unknown(key, schema)
        typed = OmegaConf.merge(OmegaConf.structured(schema), plain)
        for key in PATHS:
            path = OmegaConf.select(typed, key)
            require(path != "", key, "", "a path")
            is_colour = key == "outputs.com.background" and path and parse_colour(path)
            if path not in (None, "auto") and not is_colour:
                # From the current directory, so that a snapshot works from anywhere.
                OmegaConf.update(typed, key, str(Path(path).expanduser().absolute()))
        config = OmegaConf.to_object(typed)
    except OmegaConfBaseException as error:
        message = str(error.msg or error).splitlines()[0]
        if "is not a ListConfig" in message:
            message = f"must be a list, in brackets: {error.full_key}=[...]"
        raise ConfigError(f"{error.full_key or 'configuration'}: {message}") from None
    assert isinstance(config, schema)
    return config


def refuse_unknown(key: str, schema: type) -> None:
    """Refuse a dotted key that a schema does not have, unless it is free in that place.

    Raises:
        ConfigError: It names the keys there are, and the nearest one.
    """
    node: Any = OmegaConf.to_container(OmegaConf.structured(schema))
    prefix = ""
    for part in key.split("."):
        if node == {}:  # a place for keys that the schema does not know
            return
        known = list(node) if isinstance(node, dict) else []
        if part not in known:
            near = difflib.get_close_matches(part, known, n=1)
            hint = f" (did you mean {prefix}{near[0]}?)" if near else ""
            where = f" under {prefix[:-1]}" if prefix else ""
            there_are = f"the keys{where} are {', '.join(known)}" if known else "it has no keys"
            raise ConfigError(f"{key}: unknown key{hint}; {there_are}")
        node = node[part]
        prefix += f"{part}."


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of every leaf."""
    if not isinstance(node, dict) or not node:
        yield prefix[:-1]
        return
    for key, child in node.items():
        yield from _dotted(child, f"{prefix}{key}.")
