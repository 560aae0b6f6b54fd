"""Whether two configurations make the same mattes, and one hash that tells them apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bgm.records.directory import flatten

# Settings that change nothing in the files, or only how they are made.
_IRRELEVANT = {
    *("objective", "race", "baseline", "groups", "page_mb", "data.images"),
    *("output_dir", "on_existing", "on_error", "repeat", "threads", "checkpoint"),
    *("on_suspect", "suspect_above"),
    *("checkpoints_dir", "network_file", "outputs.workers", "seed", "sweep_cache_mb"),
    *(f"data.{key}" for key in ("workers", "batch_size", "max_megapixels", "unmatched")),
    *("device.oom", "dry_run"),
}

# Settings that tell runs of an experiment apart in no way that anybody would sort or filter by.
_NOISE = {
    *("tracking", "engine", "output_dir", "on_existing", "on_error", "on_suspect", "repeat"),
    *("dry_run", "baseline", "groups", "page_mb", "objective", "race", "checkpoints_dir"),
    *("sweep_cache_mb", "suspect_above", "outputs.formats", "outputs.workers", "data.workers"),
    *("data.unmatched", "data.max_megapixels", "device.oom"),
}
_OF_CLIPS = ("data.stride", "data.frame_rate", "data.deinterlace", "outputs.audio")


def shown(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's settings and facts people tell runs apart by, nested.

    Left out are what only says where and how it ran, what is not set, and what has no effect
    beside the other settings, such as those of layers that are not kept.

    Args:
        config: The settings, as nested plain values.
        facts: Versions, machine, checkpoint.
    """
    found: dict[str, Any] = {}
    kept = config.get("outputs", {}).get("types", ())
    of_pictures = config.get("data", {}).get("kind") == "pictures"
    without_refiner = config.get("model", {}).get("name") == "base"
    for key, value in flatten(dict(config)):
        parts = key.split(".")
        is_noise = any(".".join(parts[: count + 1]) in _NOISE for count in range(len(parts)))
        is_of_other_layer = parts[0] == "outputs" and len(parts) > 2 and parts[1] not in kept
        if value is None or is_noise or is_of_other_layer or (of_pictures and key in _OF_CLIPS):
            continue
        if without_refiner and (parts[0] == "refine" or key == "model.backbone_scale"):
            continue
        node = found
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
    checkpoint = facts.get("checkpoint") or {}
    more = {
        "bgm_version": facts.get("versions", {}).get("bgm"),
        "checkpoint_sha256": checkpoint.get("sha256"),
    }
    return {**found, **{key: value for key, value in more.items() if value is not None}}


def relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the mattes of a run depend on, by dotted key."""
    return {
        key: value
        for key, value in flatten(dict(config))
        if key not in _IRRELEVANT and key.partition(".")[0] not in ("tracking", "engine")
    }


def settings_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the settings that the mattes of a run depend on, in hexadecimal."""
    text = json.dumps(relevant(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
