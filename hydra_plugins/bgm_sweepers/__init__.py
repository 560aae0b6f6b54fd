"""Where Hydra looks for sweepers; what they do is in `bgm.cli.sweepers`."""

from __future__ import annotations

from bgm.cli import sweepers


class GridSweeper(sweepers.GridSweeper):
    """`hydra/sweeper=bgm`: every combination, a race with `race=true`."""


class OptunaSweeper(sweepers.OptunaSweeper):
    """`hydra/sweeper=optuna`: a search."""
