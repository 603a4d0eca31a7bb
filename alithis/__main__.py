"""``python -m alithis``: the command line."""

from alithis.cli import main

main()
