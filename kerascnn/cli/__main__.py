"""`python -m kerascnn.cli`."""

from kerascnn.cli import main

main()
