"""What a test of the tier ``unit`` may not do: start Ray, start a database's server, listen on a port.

Python imports this module by its name when it starts and finds it on ``PYTHONPATH``, so processes that such a test starts are
held to it, too (``tests/tiers.py``).
"""

import os
import sys

VARIABLE = "FSG_TEST_TIER"  # of the environment: the tier of the test that runs
PROGRAMS = {"gcs_server", "raylet", "postgres"}


def refuse(event: str, arguments: tuple) -> None:
    """An audit hook: raise RuntimeError where a unit test is about to have a server."""
    if event == "socket.bind" and isinstance(arguments[1], tuple):  # a Unix socket has a path
        what = f"listens at {arguments[1]}"
    elif event == "subprocess.Popen" and os.fsdecode(arguments[0]).rpartition("/")[2] in PROGRAMS:
        what = f"starts {arguments[0]}"
    else:
        return
    if os.environ.get(VARIABLE) == "unit":
        raise RuntimeError(f"a test of the tier unit {what}: docs/tests.md says how a test gets another tier")


sys.addaudithook(refuse)
