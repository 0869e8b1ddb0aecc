"""How fast is the slow-net's block? Every backend against the reference and against what the machine can do.

Run: ``python -m benchmarks.slow_scan`` (about 4 minutes on two cores). Prints a table and writes
``benchmarks/results/slow_scan_cpu.json`` (``_cuda`` where there is a GPU). The measuring itself is fsg/bench/slow_scan.py,
which ``fsg bench --what slow_scan`` runs too. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks.record import table, write
from fsg.bench.slow_scan import run


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="The slow-net's block: backends, reference, floor.")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: %(default)s)")
    arguments = parser.parse_args()
    found = list(run(arguments.rounds))
    name = "slow_scan_cuda" if torch.cuda.is_available() else "slow_scan_cpu"
    command = " ".join(["python", "-m", "benchmarks.slow_scan", *sys.argv[1:]])
    path = write(
        name, {"rounds": arguments.rounds}, {"command": command, "rows": [m.as_json() for m in found]}, ("numba",)
    )
    rows = [
        [m.case, f"{m.value:.3g} {m.unit}", f"{m.spread:.2g}" if m.spread is not None else "", m.target,
         {True: "holds", False: "MISSED", None: ""}[m.holds]]
        for m in found
    ]  # fmt: skip
    print(table(["slow_scan", "value", "IQR", "target", ""], rows))
    print(f"written to {path}")
    return 0 if all(m.holds is not False for m in found) else 1


if __name__ == "__main__":
    sys.exit(main())
