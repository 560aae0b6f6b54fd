"""The jobs of one sweep, which lie beside each other and may take over what another has found."""

from __future__ import annotations

from pathlib import Path

from bgm.records.directory import STATUS_FILE


def jobs_beside(directory: Path) -> list[Path]:
    """Directories of the jobs of a sweep, its own among them; none for a run that is no job.

    Args:
        directory: Of a run.
    """
    if not (directory / STATUS_FILE).exists():
        return []
    return [path.parent for path in directory.parent.glob(f"*/{STATUS_FILE}")]
