"""The command line: what Hydra's parser stumbles over, and its complaints in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from bgm.config.validation import refuse_unknown
from bgm.errors import BgmError

_NEED_QUOTES = re.compile(r"[=~,:'\"()\[\]{}\s]")
"""Characters that mean something to Hydra inside a value."""

_EXTRAS = {"joblib": "parallel", "submitit": "slurm", "ray": "ray"}
"""Which extra each launcher of sweeps is in, by its plugin."""


def tolerate(arguments: list[str]) -> list[str]:
    """Take what Hydra's parser stumbles over: options among overrides, colours like #00ff88."""
    quoted = [re.sub(r"(?<=[=,])#[0-9a-fA-F]+(?=,|$)", r'"\g<0>"', a) for a in arguments]
    return sorted(quoted, key=lambda a: not re.match(r"-m$|--multirun$|--[\w-]+=", a))


def as_typed(message: str, overrides: Sequence[str]) -> str:
    """A complaint with keys as they were typed: who typed `device.name=` reads no `device=`."""
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        group, _, last = key.rpartition(".")
        if group and last == "name":
            message = re.sub(rf"(?<![\w.]){re.escape(group)}=", f"{key}=", message)
    return message


def explain(error: Exception, schema: type) -> str:
    """What Hydra has against the command line, in words, with the legal choices or keys."""
    message = str(error)
    if isinstance(error, MissingConfigException):
        return _explain_missing(error)
    if "Could not override" in message:
        try:
            refuse_unknown(message.split("'")[1], schema)
        except BgmError as unknown:
            return str(unknown)
    plugin = re.search(r"hydra_plugins\.hydra_(\w+)_launcher", message)
    if plugin is not None and plugin[1] in _EXTRAS:
        return f"hydra/launcher: it needs an extra: pip install 'bgm[{_EXTRAS[plugin[1]]}]'"
    if isinstance(error, OverrideParseException):
        return _explain_override(error.override)
    if isinstance(error, OSError):  # Hydra makes the output directory before the job starts
        return f"output_dir: {error.filename} cannot be made: {error.strerror}"
    if isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        return key + str(error.msg or error).splitlines()[0]
    if isinstance(error.__cause__, OmegaConfBaseException):
        message = f"{message}: {str(error.__cause__).splitlines()[0]}"
    return message


def _explain_missing(error: MissingConfigException) -> str:
    """Which file of the configuration there is not."""
    if not error.options:
        name = error.missing_cfg_file
        return f"{name}: no such configuration" if name else str(error).splitlines()[0]
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    return f"{group}={choice}: no such choice; there are {', '.join(sorted(error.options))}"


def _explain_override(override: str) -> str:
    """Why an argument is no setting, and how it is written."""
    key, is_setting, value = override.partition("=")
    special = dict.fromkeys(_NEED_QUOTES.findall(value))
    if not is_setting or not special:
        return (
            f"{override}: not a setting; settings are written key=value, and values with "
            "spaces, brackets, commas or quotes need quotes of their own: \"data.src='photos (1)'\""
        )
    named = " ".join("a space" if c.isspace() else c for c in special)
    quoted = value.strip("'\"").replace("'", "\\'")
    return (
        f"{override}: the value has {named} in it and needs quotes of its own: \"{key}='{quoted}'\""
    )
