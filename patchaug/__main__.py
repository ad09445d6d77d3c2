"""`python -m patchaug`."""

from patchaug.cli import main

main()
