"""From a configuration as Hydra composed it to one that is checked against its schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.config.composing import ComposeConfig
from bgm.config.export import ExportConfig
from bgm.config.schema import (
    BenchmarkConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    demo_path,
    require,
    to_plain,
)
from bgm.config.training import TrainConfig
from bgm.config.video import FORMATS_FOLDER, load_format
from bgm.data.named_colours import parse_colour
from bgm.data.sets import part_of_set
from bgm.data.video.demo import demo_file
from bgm.data.video.plates import own_plate
from bgm.errors import ConfigError
from bgm.layers import LAYERS, VIDEO_FORMATS
from bgm.locations import conf_directory
from bgm.storage import check_place, is_url, working_folder

Schema = TypeVar(
    "Schema",
    Config,
    EvaluateConfig,
    CompareConfig,
    BenchmarkConfig,
    TrainConfig,
    ExportConfig,
    ComposeConfig,
)

PATHS = (
    *("data.root", "data.src", "data.bgr", "data.pha", "data.fgr", "data.trimap"),
    *("checkpoint", "checkpoints_dir", "network_file", "repeat", "groups", "edges.garbage"),
    *("calibration.src", "calibration.bgr"),
    *(f"outputs.{name}.{key}" for name, layer in LAYERS.items() for key in layer.paths),
    *("pred", "true", "trimap", "output_dir", "data.alphas", "data.cache"),
)
"""Keys of paths, which may be relative to the current directory."""

_LOCAL_ONLY = (BenchmarkConfig, ComposeConfig, ExportConfig, TrainConfig)


def expand_home(path: str) -> str:
    """A path with `~` as the home directory; `${bgm.home:...}` in YAML.

    What Hydra writes into the directory of a run goes to a folder of this machine.
    """
    return working_folder(path) if is_url(path) else str(Path(path).expanduser())


def if_demo(src: str, value: Any, otherwise: Any) -> Any:
    """A setting of the shipped demo set, which is not one of other photographs.

    `${bgm.if_demo:${.src},value,otherwise}` in YAML.
    """
    return value if src == demo_path("src") else otherwise


def demo_video(part: str) -> str:
    """Path of a part of the demo clip, made when it is first used; `${bgm.demo_video:src}`."""
    return str(demo_file(part))


OmegaConf.register_new_resolver("bgm.demo_video", demo_video, replace=True)
OmegaConf.register_new_resolver("bgm.home", expand_home, replace=True)
OmegaConf.register_new_resolver("bgm.if_demo", if_demo, replace=True)
OmegaConf.register_new_resolver("bgm.part_of_set", part_of_set, replace=True)


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
    try:
        plain = OmegaConf.to_container(raw, resolve=True)
        leaves = dict(_leaves(plain))
        missing = sorted(key for key, value in leaves.items() if value == MISSING)
        if missing:
            raise ConfigError("missing; pass " + " ".join(f"{key}=..." for key in missing))
        for key in leaves:
            refuse_unknown(key, schema)
            _refuse_nested(key, leaves[key], schema)
        typed = OmegaConf.merge(OmegaConf.structured(schema), plain)
        for key in PATHS:
            path = OmegaConf.select(typed, key)
            require(path != "", key, "", "a path")
            if path is not None:
                OmegaConf.update(typed, key, _absolute(key, path))
                if is_url(path) and schema in _LOCAL_ONLY:
                    raise ConfigError(f"{key}={path}: this command uses files of this machine only")
        if schema is Config:
            _add_formats(typed, plain)
        config = OmegaConf.to_object(typed)
    except OmegaConfBaseException as error:
        message = str(error.msg or error).splitlines()[0]
        message = re.sub(r"^\w+ raised while resolving interpolation: ", "", message)
        if "is not a ListConfig" in message:
            message = f"must be a list, in brackets: {error.full_key}=[...]"
        raise ConfigError(f"{error.full_key or 'configuration'}: {message}") from None
    assert isinstance(config, schema)
    return config


def describe_settings(raw: DictConfig, schema: type[Any]) -> dict[str, Any]:
    """Settings for the records, nested: as `parse_config` makes them, or as far as they go."""
    try:
        return to_plain(parse_config(raw, schema))
    except ConfigError:
        plain = OmegaConf.create(to_plain(raw))
        for key in PATHS:
            path = OmegaConf.select(plain, key, throw_on_missing=False)
            if isinstance(path, str):
                OmegaConf.update(plain, key, _absolute(key, path))
        return to_plain(plain)


def _add_formats(typed: Any, plain: Any) -> None:
    """Take the formats of videos that are used from their files into the configuration."""
    given = (plain.get("outputs") or {}).get("formats") or {}
    kept = [name for name in typed.outputs.types if name in LAYERS]  # others are refused later
    used = {typed.outputs[name].format.name for name in kept}
    for name in sorted({*(used & VIDEO_FORMATS), *given}):
        folder = conf_directory() / FORMATS_FOLDER
        typed.outputs.formats[name] = load_format(name, folder, given.get(name))


def _absolute(key: str, path: str) -> str:
    """A path from the current directory, so that a snapshot works from anywhere."""
    if is_url(path):
        check_place(key, path)
        return path.rstrip("/")
    is_colour = key == "outputs.com.background" and parse_colour(path) is not None
    is_own_plate = key == "data.bgr" and own_plate(path) is not None
    is_word = path == {"groups": "folder"}.get(key, "auto")
    if is_word or is_colour or is_own_plate:
        return path
    return str(Path(path).expanduser().absolute())


def refuse_unknown(key: str, schema: type) -> None:
    """Refuse a dotted key that a schema does not have, unless it is free in that place.

    Raises:
        ConfigError: It names the keys there are, and the nearest one.
    """
    node: Any = _known_keys(schema)
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


def _refuse_nested(key: str, value: Any, schema: type) -> None:
    """Refuse lists of lists where words or numbers are listed; OmegaConf would let them pass.

    Raises:
        ConfigError: It names the key.
    """
    if not isinstance(value, list) or not any(isinstance(item, (list, dict)) for item in value):
        return
    kind: Any = schema
    for part in key.split("."):
        kind = get_type_hints(kind).get(part) if is_dataclass(kind) else None
    choices = (kind,) if get_origin(kind) is list else get_args(kind)
    lists = [choice for choice in choices if get_origin(choice) is list]
    items = [item for choice in lists for item in get_args(choice)]
    if any(isinstance(item, type) and issubclass(item, (str, int, float, Enum)) for item in items):
        raise ConfigError(f"{key}={value}: must be a plain list, with nothing nested in it")


@lru_cache
def _known_keys(schema: type) -> Any:
    """The keys of a schema, nested."""
    return OmegaConf.to_container(OmegaConf.structured(schema))


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a configuration by their dotted keys."""
    if not isinstance(node, dict) or not node:
        yield prefix[:-1], node
        return
    for key, child in node.items():
        yield from _leaves(child, f"{prefix}{key}.")
