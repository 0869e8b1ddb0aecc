"""``python -m fsg.cli``: the command line where its script is not on the path, as in a job on a cluster."""

from fsg.cli import main

main()
