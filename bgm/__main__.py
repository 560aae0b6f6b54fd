"""`python -m bgm` is the command `bgm`."""

from bgm.cli.commands import main

main()
