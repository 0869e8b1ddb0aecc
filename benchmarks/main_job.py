"""What does README's main job cost: trial by trial, in packs, and with an older fsg? 36 trials, from command to table.

Run: ``python -m benchmarks.main_job [--before CHECKOUT]`` (about 4 minutes a round on two idle cores). Prints a table and writes
``benchmarks/results/main_job.json``. CHECKOUT is a folder of another commit with its own ``.venv``.

Each run is ``fsg ablate`` of the component ablation of 0.1, which every release reads, in an empty folder, on a Ray of its own
and with MLflow's copy; the sides take turns. Wall time is that of the command. ``load``: how many processes wanted a processor
during a run's last minute.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import table, write

STUDY = Path(__file__).parents[1] / "ablations" / "components_defaults_0_1.yaml"
TARGET = 0.5  # of the wall time of the build before


def main() -> int:
    """Measure, print, write; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="README's main job, trial by trial, in packs, and with an older fsg.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, with its own .venv")
    arguments = parser.parse_args()
    ours = Path(sys.executable).with_name("fsg")
    sides = {"off": [ours, "ablate", STUDY, "--fuse", "off"], "auto": [ours, "ablate", STUDY]}
    if arguments.before:
        sides["before"] = [arguments.before / ".venv" / "bin" / "fsg", "ablate", STUDY]
    runs = [_run(side, list(map(str, command))) for _ in range(arguments.rounds) for side, command in sides.items()]
    found = {side: median(run["wall_s"] for run in runs if run["side"] == side) for side in sides}
    against = "before" if arguments.before else "off"
    ratio = round(found["auto"] / found[against], 3)
    print(table(["side", "wall s", "load", "said"], [list(map(str, run.values())) for run in runs]))
    print(f"auto takes {ratio} of the wall time of {against}, target {TARGET}")
    results = {"runs": runs, "medians": found, "against": against, "ratio": ratio}
    print(f"written to {write('main_job', {'rounds': arguments.rounds}, results, ('ray',))}")
    return 0 if ratio <= TARGET else 1


def _run(side: str, command: list[str]) -> dict[str, Any]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        wall, load = time.monotonic() - start, os.getloadavg()[0]
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    said = next((line.strip() for line in done.stdout.splitlines() if "fit together" in line), "")
    found = {"side": side, "wall_s": round(wall, 1), "load": round(load, 1), "said": said}
    print(found, flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
