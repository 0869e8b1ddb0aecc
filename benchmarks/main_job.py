"""What does README's main job cost in packs, and with an older fsg, or trial by trial? 36 trials, from command to table.

Run: ``python -m benchmarks.main_job [--before CHECKOUT]`` (under 3 minutes a round on two idle cores). Prints a table and writes
``benchmarks/results/main_job.json``. CHECKOUT is a folder of another commit with its own ``.venv``; without one, the packs
(``auto``) stand beside the same build trial by trial (``off``).

Each run is ``fsg ablate`` of the component ablation of 0.1, in an empty folder, on a Ray of its own and with MLflow's copy; the
sides take turns. An older fsg reads its own ``components.yaml``, which are the same trials. Wall time is that of the command,
processor time that of all its processes, Ray's workers too. ``load``: how many processes wanted a processor during a run's last
minute.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import table, write
from benchmarks.watched import watch

STUDY = Path(__file__).parents[1] / "ablations" / "components_defaults_0_1.yaml"
TARGETS = {"wall_s": 0.5, "cpu_s": 0.45}  # of the build before
TRIALS = 36


def main() -> int:
    """Measure, print, write; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="README's main job, trial by trial, in packs, and with an older fsg.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, with its own .venv")
    arguments = parser.parse_args()
    ours = Path(sys.executable).with_name("fsg")
    against = "before" if arguments.before else "off"
    sides = {against: [ours, "ablate", STUDY, "--fuse", "off"], "auto": [ours, "ablate", STUDY]}
    if arguments.before:
        older = arguments.before.resolve()
        own = older / "ablations" / STUDY.name
        study = own if own.exists() else own.with_name("components.yaml")
        sides[against] = [older / ".venv" / "bin" / "fsg", "ablate", study]
    runs = [_run(side, list(map(str, command))) for _ in range(arguments.rounds) for side, command in sides.items()]
    medians = {
        name: {side: round(median(run[name] for run in runs if run["side"] == side), 1) for side in sides}
        for name in TARGETS
    }
    ratios = {name: round(found["auto"] / found[against], 3) for name, found in medians.items()}
    print(table(["side", "wall s", "processor s", "load", "said"], [list(map(str, run.values())) for run in runs]))
    for name, what in (("wall_s", "wall"), ("cpu_s", "processor")):
        holds = "holds" if ratios[name] <= TARGETS[name] else "MISSED"
        print(f"auto takes {ratios[name]} of the {what} time of {against}, target {TARGETS[name]}: {holds}")
    each = {side: round(seconds / TRIALS, 2) for side, seconds in medians["cpu_s"].items()}
    results = {"runs": runs, "medians": medians, "against": against, "ratios": ratios, "cpu_s_per_trial": each}
    print(f"written to {write('main_job', {'rounds': arguments.rounds}, results, ('ray',))}")
    return 0 if all(ratios[name] <= target for name, target in TARGETS.items()) else 1


def _run(side: str, command: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        taken = watch(command, Path(folder))
    said = next((line.strip() for line in taken.said.splitlines() if "fit together" in line), "")
    load = round(os.getloadavg()[0], 1)
    found = {"side": side, "wall_s": round(taken.wall_s, 1), "cpu_s": round(taken.cpu_s, 1), "load": load, "said": said}
    print(found, flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
