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
