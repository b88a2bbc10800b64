"""`python -m edgecnn` is the command `edgecnn`."""

from edgecnn.cli.main import main

main()
