"""`python -m deadpan`."""

from deadpan.cli import main

main()
