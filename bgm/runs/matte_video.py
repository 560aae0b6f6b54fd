"""The Python door for clips: from a clip and its plate to files, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bgm.config.schema import Config, to_plain
from bgm.config.validation import parse_config
from bgm.errors import ConfigError, DataError
from bgm.inference.matting import Matting
from bgm.records.summary import Summary
from bgm.runs import runner
from bgm.runs.clip_resume import clip_path


@dataclass(frozen=True)
class MattedVideo:
    """What became of a clip.

    Attributes:
        files: The files of each type, or the folders of numbered pictures.
        frames: Frames that were matted.
        failed: Frames that could not be read or matted; each shows the one before.
        summary: The figures of the run.
    """

    files: dict[str, Path]
    frames: int
    failed: int
    summary: Summary


def matte_video(
    src: str | Path,
    bgr: str | Path,
    output_dir: str | Path = "mattes",
    *,
    matting: Matting | None = None,
    formats: dict[str, str] | None = None,
    background: str | Path | None = None,
    start: object = None,
    end: object = None,
    stride: int = 1,
    align: bool | str = False,
    audio: bool = True,
    on_existing: str = "error",
    overrides: Sequence[str] = (),
) -> MattedVideo:
    """Matte a clip, and write what comes of it.

    Args:
        src: A video, a folder of numbered pictures, or a pattern such as `frames/%05d.png`.
        bgr: A picture of the empty scene, a clip of it that runs along, or where in the clip
            itself it is empty: `first:2s`, `range:2s-4s`, `median`.
        output_dir: Where to; the files are `<type>/<name of the clip>.<extension>`.
        matting: The network, as `load_matting` returns it; by default the one shipped.
        formats: What is written, and in which format: by default `{"com": "prores4444", "pha":
            "ffv1"}`. Pictures (`"png"`) become numbered ones.
        background: A colour, a picture or a clip that `com` is put on; its format must then be
            one without alpha, or it is `mp4`.
        start: Where to begin: seconds, `48f` for frames, or a timecode.
        end: Where to stop.
        stride: Every how manyth frame.
        align: True to align the plate once, `frames` for each frame.
        audio: Whether the files have the clip's sound.
        on_existing: `error`, `resume`, `skip` or `overwrite`.
        overrides: Any other settings, as on the command line: `["data.batch_size=4"]`.

    Returns:
        The files, and how it went.

    Raises:
        BgmError: Something is wrong with the settings or the files; nothing was written.
    """
    kept = formats or {"com": "prores4444" if background is None else "mp4", "pha": "ffv1"}
    outputs: dict[str, Any] = {kind: {"format": chosen} for kind, chosen in kept.items()}
    outputs |= {"types": list(kept), "audio": audio}
    points = {key: str(at) for key, at in (("start", start), ("end", end)) if at is not None}
    data = {"kind": "video", "src": str(src), "bgr": str(bgr), "stride": stride, "align": align}
    folder = Path(output_dir).expanduser().absolute()
    settings = OmegaConf.create(
        {
            "data": data | points,
            "outputs": outputs,
            "on_existing": on_existing,
            "output_dir": str(folder),
            "tracking": {"name": "files"},
        }
    )
    if background is not None:
        OmegaConf.update(settings, "outputs.com.background", str(background))
    raw = OmegaConf.merge(settings, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(raw, DictConfig)
    config = parse_config(raw, Config)
    run = runner.prepare(config, folder, matting, console=False)
    clips = run.plan.clips or []
    if len(clips) != 1:
        run.directory.release()
        raise ConfigError(f"{src} holds {len(clips)} clips; bgm data=video mattes folders of them")
    summary = runner.execute(run, to_plain(config))
    if summary.error is not None:
        raise DataError(summary.error)
    files = {spec.type: clip_path(config, folder, spec, clips[0].name) for spec in run.plan.specs}
    return MattedVideo(files, summary.written + summary.skipped, summary.failed, summary)
