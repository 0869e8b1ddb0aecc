"""Does a disk that fails cost anything? Studies of which a file call fails, over the first 300 of each kind of file.

Run: ``python -m benchmarks.io_faults`` (ten minutes on two cores; ``--faults 20`` for a look). An ablation, a search with
ASHA and a population, each half a second of training without Ray, are run with a preloaded library in whose hands one call on
their ledger, checkpoints, journal or specification gives EIO, ENOSPC, EDQUOT, EROFS, EMFILE or a short write: once, a few times,
or from then on, then for all of the study's files. Each goes on without a fault, and is held against its twin, which none befell.

Lost: an event that was said to be on disk, a trial, a file, or a bit of a result. Doubled: a trial run or told once too often.
Silent: a run that ended without one message that says where and why, hung, or called itself complete and was not.
Written to ``benchmarks/results/io_faults.json``. Exits with 1 if anything is lost, doubled or silent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.fault_cases import FIRST, KINDS, Found, Scene
from support.forks import Forks
from support.io_fault import CLASSES, NoShim

from benchmarks.record import table, write

BROKEN = ("lost", "doubled", "silent")


def summary(found: list[Found]) -> dict[str, Any]:
    """What befell all of them, and those of each class of file and each kind of fault."""
    return {
        **_counts(found),
        "by_class": {name: _counts(one for one in found if one.struck and one.struck.of == name) for name in CLASSES.values()},
        "by_kind": {kind.name: _counts(one for one in found if one.case.kind == kind) for kind in KINDS},
    }  # fmt: skip


def _counts(found: Iterable[Found]) -> dict[str, Any]:
    found = list(found)
    return {
        "tried": len(found),
        "struck": sum(one.struck is not None for one in found),
        **{name: sum(bool(getattr(one, name)) for one in found) for name in BROKEN},
        "ended": dict(sorted(Counter(one.ended for one in found).items())),
    }


def main() -> int:
    """Strike, print, write."""
    parser = argparse.ArgumentParser(description="Studies whose disk fails at one call.")
    parser.add_argument("--faults", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of which call befalls which study (default: %(default)s)")
    arguments = parser.parse_args()
    found: list[Found] = []
    try:
        with tempfile.TemporaryDirectory(prefix="fsg-io-faults-") as folder, Forks("support.local_driver") as forks:
            scene = Scene(Path(folder), forks)
            for case in scene.cases(arguments.faults, arguments.seed):
                found.append(scene.strike(case))
                for finding in found[-1].broken:
                    print(f"{case} ({found[-1].struck}): {finding}", flush=True)
    except NoShim as why:
        print(f"No fault was injected: {why}.", file=sys.stderr)
        return 1
    body = summary(found)
    header = ["struck in", "tried", "struck", *BROKEN]
    rows = [[name, *(str(one[column]) for column in header[1:])] for name, one in body["by_class"].items()]
    print(table(header, [*rows, ["all", *(str(body[column]) for column in header[1:])]]))
    body["broken"] = [f"{one.case}: {finding}" for one in found for finding in one.broken]
    settings = {"faults": arguments.faults, "seed": arguments.seed, "calls": FIRST, "device": "cpu"}
    write("io_faults", settings, body, ("ray", "optuna"))
    return int(bool(body["broken"]))


if __name__ == "__main__":
    sys.exit(main())
