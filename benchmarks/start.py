"""How long is it from a command to the first epoch's result, and what does the machine compute until then?

Run: ``python -m benchmarks.start [--before CHECKOUT] [--rounds 3]`` (a minute a round and side on two idle cores). Prints a
table and writes ``benchmarks/results/start.json``. CHECKOUT is a folder of another commit with its own ``.venv``.

``fsg ablate`` of a study of four trials in an empty folder, on a Ray of its own and with MLflow's copy, is interrupted once
its ledger has a line of an epoch; the sides take turns. Processor seconds are those of the driver, Ray and all workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.record import table, write
from benchmarks.watched import holds_event, watch

TARGET = 0.5  # of the build before
STUDY = {
    "name": "start",
    "base": {"model": "digits_cnn", "gradient": "fsg", "data": "digits", "epochs": 3},
    "seeds": [0, 1],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"fsg": {}, "ste": {"gradient": "ste"}},
}


def main() -> int:
    """Measure, print, write; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="From a command to the first epoch.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, with its own .venv")
    given = parser.parse_args()
    sides = {"now": Path(sys.executable).with_name("fsg")}
    if given.before:
        sides["before"] = given.before.resolve() / ".venv" / "bin" / "fsg"
    runs = [_run(side, fsg) for _ in range(given.rounds) for side, fsg in sides.items()]
    print(table(["side", "wall s", "processor s", "load"], [list(map(str, run.values())) for run in runs]))
    found: dict[str, Any] = {
        name: {side: round(median(run[name] for run in runs if run["side"] == side), 2) for side in sides}
        for name in ("wall_s", "cpu_s")
    }
    holds = None
    if given.before:
        ratios = {name: round(each["now"] / each["before"], 3) for name, each in found.items()}
        holds = ratios["wall_s"] <= TARGET
        print(
            f"of the build before: {ratios['wall_s']} of the wall time (target {TARGET}), {ratios['cpu_s']} of the processor's"
        )
        found["ratios"] = ratios
    print(f"written to {write('start', {'rounds': given.rounds}, {'runs': runs, 'medians': found}, ('ray', 'mlflow'))}")
    return 1 if holds is False else 0


def _run(side: str, fsg: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "start.yaml").write_text(yaml.safe_dump(STUDY))
        ledger = place / "studies" / "start" / "ledger.jsonl"
        taken = watch([fsg, "ablate", "start.yaml"], place, lambda: holds_event(ledger, "epoch"))
        assert holds_event(ledger, "epoch"), taken.said
    found = {
        "side": side,
        "wall_s": round(taken.wall_s, 2),
        "cpu_s": round(taken.cpu_s, 2),
        "load": round(os.getloadavg()[0], 1),
    }
    print(found, flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
