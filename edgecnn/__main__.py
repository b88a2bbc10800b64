"""`python -m edgecnn` is the command `edgecnn`."""

from edgecnn.cli.entry import main

main()
