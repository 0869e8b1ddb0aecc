"""What does README's main job cost, trial by trial and in packs? ``fsg ablate ablations/components.yaml``, from command to table.

Run: ``python -m benchmarks.main_job`` (6 runs: about 15 minutes on two idle cores). Prints a table and writes
``benchmarks/results/main_job.json``.

Each run is in an empty folder, on a Ray of its own, with MLflow's copy. ``--fuse off`` and ``--fuse auto`` take turns. Wall time
is that of the command; processor time, user's and system's, that of all processes which it started: this process adopts those
whose parent has gone, so that they are counted, too. ``load``: how many processes wanted a processor during a run's last minute.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import table, write

STUDY = Path(__file__).parents[1] / "ablations" / "components.yaml"
SIDES = ("off", "auto")
SUBREAPER = 36  # prctl's name for: orphans of this process become its children
TARGETS = {"wall_s": 0.5, "cpu_s": 0.45}


def main() -> int:
    """Measure, print, write; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="README's main job, trial by trial and in packs.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], help="over the study's base, as fsg ablate takes it")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    runs = [_run(side, arguments.set) for _ in range(arguments.rounds) for side in SIDES]
    found = {side: {name: median(r[name] for r in runs if r["fuse"] == side) for name in TARGETS} for side in SIDES}
    ratios = {name: round(found["auto"][name] / found["off"][name], 3) for name in TARGETS}
    rows = [[r["fuse"], f"{r['wall_s']:.0f}", f"{r['cpu_s']:.0f}", f"{r['load']:.1f}", r["said"]] for r in runs]
    print(table(["--fuse", "wall s", "processor s", "load", "said"], rows))
    print(", ".join(f"{name}: {ratios[name]} of that apart, target {TARGETS[name]}" for name in TARGETS))
    settings = {"rounds": arguments.rounds, "set": arguments.set}
    print(f"written to {write('main_job', settings, {'runs': runs, 'medians': found, 'ratios': ratios}, ('ray',))}")
    return 0 if all(ratios[name] <= TARGETS[name] for name in TARGETS) else 1


def _run(side: str, settings: list[str]) -> dict[str, Any]:
    words = [word for setting in settings for word in ("--set", setting)]
    command = [str(Path(sys.executable).with_name("fsg")), "ablate", str(STUDY), "--fuse", side, *words]
    before, start = _processor(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        wall, load = time.monotonic() - start, os.getloadavg()[0]
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        _wait_for_orphans()
    said = next((line.strip() for line in done.stdout.splitlines() if "fit together" in line), "")
    found = {
        "fuse": side,
        "wall_s": round(wall, 1),
        "cpu_s": round(_processor() - before, 1),
        "load": load,
        "said": said,
    }
    print(found, flush=True)
    return found


def _wait_for_orphans() -> None:
    """Ray ends its processes after the command has; what they took is known once they are waited for."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
