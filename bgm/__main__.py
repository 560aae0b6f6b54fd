"""`python -m bgm` is the command `bgm`."""

from bgm.cli import main

main()
