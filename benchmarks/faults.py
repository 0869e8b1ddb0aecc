"""Does anything get lost? Studies struck at random moments, until enough processes have been killed.

Run: ``python -m benchmarks.faults`` (about an hour on two cores; ``--kills 10`` for a look). What is struck and what is checked
stands in fsg/bench/faults; ``fsg bench faults`` measures the same. Written after every round, so that a run that is ended
early counts: ``benchmarks/results/faults.json``, or ``faults_<first>.json`` for rounds that begin at another seed.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.record import table, write
from fsg.bench.faults.rounds import Round, rounds, summary


def main() -> int:
    """Strike, check, print, write."""
    parser = argparse.ArgumentParser(description="Studies struck at random moments.")
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first round (default: %(default)s)")
    arguments = parser.parse_args()
    done: list[Round] = []
    for one in rounds(arguments.first):
        done.append(one)
        print(
            f"round {len(done)}: {one.kind}, {one.struck.kills} killed, {len(one.broken)} broken",
            *one.broken[:5],
            flush=True,
        )
        found = list(summary(done))
        name = "faults" + (f"_{arguments.first}" if arguments.first else "")
        write(name, {"first": arguments.first}, {"rows": [m.as_json() for m in found]}, ("ray", "optuna", "mlflow"))
        if sum(each.struck.kills for each in done) >= arguments.kills:
            break
    print(table(["faults", "value"], [[m.case, f"{m.value:g}"] for m in found]))
    return 0 if not any(one.broken for one in done) else 1


if __name__ == "__main__":
    sys.exit(main())
