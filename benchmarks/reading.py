"""What do the report of a large sweep and ``fsg compare`` of 10,000 trials cost? Time and memory, beside an earlier build.

Run: ``python -m benchmarks.reading`` (two minutes on two cores); with ``--against CHECKOUT`` every command also runs in
that checkout's environment, in turn, and the table has the ratio. The ledgers are made up, in the format of the first release,
which every build reads, with the lines that a trainer writes: of each epoch its metrics, its layers and its checkpoint.

- ``sweep``: 1,000 configurations of 15 epochs, all to the end. Tables, importances, every figure.
- ``search``: 10,000 trials, of which a rule stopped half after 1 and half of the rest after 3 of 9 epochs.
- ``ablation``: 10,000 trials of 20 arms with 500 seeds each, 3 epochs.

Written to ``benchmarks/results/reading.json``: processor seconds and the most resident memory of the whole command, the median of
the rounds and the lowest and highest. Proof of the made-up studies: ``tests/benchmarks/test_made_up_studies.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.record import table, write
from fsg.config import TrialConfig, canonical_json, parse_trial
from fsg.identity import sparse

# processor seconds and MB that a case may take
LIMITS = {"sweep": (5.0, 400.0), "search": (4.0, 500.0), "ablation": (None, None)}
EPOCHS = {"sweep": 15, "search": 9, "ablation": 3}
ARMS = 20
SPACE = {
    "optimizer.lr": {"loguniform": [1e-3, 1e-1]},
    "gradient.slow.lr": {"loguniform": [1e-4, 1e-2]},
    "gradient.beta": {"uniform": [0.0, 1.0]},
    "gradient.length": {"randint": [1, 8]},
    "gradient.gain": {"choice": ["bounded", "locked"]},
}
LAYERS = ("features.0", "features.3", "features.6", "classifier")
HEADER = ["what", "trials", "ledger MB", "s", "spread", "MB", "s before", "MB before", "ratio", "target s", "target MB"]


def main() -> int:
    """Measure, print, write; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="Reading large studies.")
    parser.add_argument("cases", nargs="*", choices=[[], *LIMITS], help="which; all if left out")
    parser.add_argument("--against", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=3, help="of each command (default: %(default)s)")
    parser.add_argument("--trials", type=int, help="another number of trials than the case's own")
    given = parser.parse_args()
    builds = [Path(), *([given.against.resolve()] if given.against else [])]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for case in given.cases or LIMITS:
            trials = given.trials or (1_000 if case == "sweep" else 10_000)
            folder = make(case, trials, Path(place))
            size = (folder / "ledger.jsonl").stat().st_size / 1e6
            found = [[compare(build, folder) for build in builds] for _ in range(given.rounds)]
            rows.append(_row(case, trials, size, [list(column) for column in zip(*found, strict=True)]))
    print(table(HEADER, [_cells(row) for row in rows]))
    settings = {"rounds": given.rounds, "against": _commit(given.against) if given.against else None}
    print(f"written to {write('reading', settings, {'rows': rows}, ('optuna', 'matplotlib'))}")
    return 0 if all(row["holds"] is not False for row in rows) else 1


def compare(build: Path, folder: Path) -> dict[str, float]:
    """``fsg compare`` of the study in ``folder`` by the build in ``build``: processor and wall seconds, MB at most."""
    began = time.monotonic()
    python = str(build.absolute() / ".venv" / "bin" / "python") if build != Path() else sys.executable
    command = [python, "-m", "fsg.cli", "compare", str(folder)]
    process = subprocess.Popen(command, cwd=build.absolute(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{said.decode()}")
    cpu = used.ru_utime + used.ru_stime
    return {"cpu_s": cpu, "wall_s": time.monotonic() - began, "peak_mb": used.ru_maxrss / 1024}


# Made-up studies ------------------------------------------------------------------------------------------------------
def make(case: str, trials: int, place: Path) -> Path:
    """A study's folder in ``place`` with that many trials: its specification and its ledger."""
    folder = place / case
    folder.mkdir()
    (folder / "spec.yaml").write_text(yaml.safe_dump(_study(case, trials), sort_keys=False))
    with (folder / "ledger.jsonl").open("wb") as ledger:
        ledger.writelines(map(_line, events(case, trials)))
    return folder


def events(case: str, trials: int) -> Iterator[dict[str, Any]]:
    """Every event, with seeded numbers in the place of training."""
    numbers, now, most = random.Random(0), 1.7e9, EPOCHS[case]
    kind = "ablation" if case == "ablation" else "sweep"
    about = {"name": case, "kind": kind, "spec_digest": "0", "git_commit": None, "versions": {"fsg": "0.1.0"}}
    yield {"event": "study", "time": now, "study_id": "made-up", **about}
    for number in range(trials):
        if kind == "sweep":
            arm, seed, config = "sweep", 0, _config(most, _point(numbers))
        else:
            seed, place = divmod(number, ARMS)
            arm, config = _arm(place), _config(most, {"optimizer.lr": 0.0007 * (place + 1)}) | {"seed": seed}
        of = {"key": f"{zlib.crc32(str(number).encode()):08x}{number % 65536:04x}", "time": now + number}
        yield {"event": "planned", "arm": arm, "seed": seed, "config": config, **of}
        yield {"event": "started", "attempt": 1, "node": "127.0.0.1", "device": "cpu", **of}
        yield {"event": "fingerprint", "weights": f"{seed:012x}", "batches": f"{seed:012x}", **of}
        reach = numbers.gauss(90, 4) - 20 * abs(config["gradient"]["beta"] - 0.4)
        last = (1 if numbers.random() < 0.5 else 3 if numbers.random() < 0.5 else most) if case == "search" else most
        metrics: dict[str, Any] = {}
        for epoch in range(1, last + 1):
            metrics = _metrics(numbers, epoch, reach)
            yield {"event": "epoch", "metrics": metrics, **of}
            yield {"event": "layers", "epoch": epoch, "layers": {layer: _layer(numbers) for layer in LAYERS}, **of}
            yield {"event": "checkpoint", "epoch": epoch, "path": f"checkpoints/{of['key']}/last.pt", **of}
        if last < most:
            yield {"event": "pruned", "epoch": last, "reason": "asha: below the best third", **of}
        else:
            yield {"event": "finished", "metrics": metrics | {"test_accuracy": reach - 1.0}, **of}


def _study(case: str, trials: int) -> dict[str, Any]:
    study: dict[str, Any] = {
        "name": case,
        "base": {"gradient": "fsg", "epochs": EPOCHS[case]},
        "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
    }
    if case == "ablation":
        arms = {_arm(place): {"optimizer": {"lr": 0.0007 * (place + 1)}} for place in range(ARMS)}
        analysis = {"interval": 0.95, "smallest_effect_of_interest": 0.5, "reference": _arm(0), "baseline": _arm(1)}
        return study | {"seeds": list(range(trials // ARMS)), "arms": arms, "analysis": analysis}
    asha = {"scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3}} if case == "search" else {}
    return study | {"space": SPACE, "search": {"sampler": "random", "trials": trials}} | asha


def _config(epochs: int, point: dict[str, Any]) -> dict[str, Any]:
    """A trial's configuration as the first release wrote it."""
    config = json.loads(_BASE) | {"epochs": epochs}
    for path, value in point.items():
        *sections, field = path.split(".")
        section = config
        for name in sections:
            section = section[name]
        section[field] = value
    return config


_BASE = json.dumps(sparse(parse_trial({"gradient": "fsg"}).model_dump(mode="json"), TrialConfig))


def _point(numbers: random.Random) -> dict[str, Any]:
    return {
        "optimizer.lr": 10 ** numbers.uniform(-3, -1),
        "gradient.slow.lr": 10 ** numbers.uniform(-4, -2),
        "gradient.beta": numbers.uniform(0.0, 1.0),
        "gradient.length": numbers.randint(1, 8),
        "gradient.gain": numbers.choice(["bounded", "locked"]),
    }


def _arm(place: int) -> str:
    return f"rate_{place + 1}"


def _metrics(numbers: random.Random, epoch: int, reach: float) -> dict[str, Any]:
    accuracy = reach - 30 / (epoch + 1) + numbers.gauss(0, 0.5)
    near = {"val_accuracy": accuracy, "val_accuracy_ema": accuracy + 0.1, "train_accuracy": accuracy + 2}
    losses = {"train_loss": 2 / epoch + numbers.random() / 10, "val_loss": 2.1 / epoch + numbers.random() / 10}
    rest = ("cosine", "flip_ratio", "gain", "grad_norm", "grad_norm_l1", "images_per_s", "lr", "step_ms", "uphill")
    return {"epoch": epoch, **near, **losses, **{name: numbers.random() for name in rest}}


def _layer(numbers: random.Random) -> dict[str, float]:
    return {name: numbers.random() for name in ("cosine", "flip_ratio", "gain", "uphill")}


def _line(event: dict[str, Any]) -> bytes:
    crc = f"{zlib.crc32(canonical_json(event).encode()):08x}"
    return canonical_json(event | {"crc": crc}).encode() + b"\n"


# Rows -----------------------------------------------------------------------------------------------------------------
def _row(case: str, trials: int, size: float, builds: list[list[dict[str, float]]]) -> dict[str, Any]:
    ours, theirs = builds[0], builds[1] if len(builds) > 1 else []
    cpu = [run["cpu_s"] for run in ours]
    seconds, megabytes = LIMITS[case]
    peak = max(run["peak_mb"] for run in ours)
    row: dict[str, Any] = {
        "case": case, "trials": trials, "ledger_mb": size, "cpu_s": median(cpu), "cpu_s_spread": [min(cpu), max(cpu)],
        "wall_s": median(run["wall_s"] for run in ours), "peak_mb": peak, "target_s": seconds, "target_mb": megabytes,
        "holds": None if seconds is None or megabytes is None else median(cpu) <= seconds and peak <= megabytes,
    }  # fmt: skip
    if theirs:
        before = [run["cpu_s"] for run in theirs]
        row |= {"before_cpu_s": median(before), "before_cpu_s_spread": [min(before), max(before)]}
        row |= {"before_peak_mb": max(run["peak_mb"] for run in theirs)}
        row |= {"ratio": median(a / b for a, b in zip(cpu, before, strict=True))}
    return row


def _cells(row: dict[str, Any]) -> list[str]:
    def cell(name: str, digits: int) -> str:
        return "–" if row.get(name) is None else f"{row[name]:.{digits}f}"

    low, high = row["cpu_s_spread"]
    return [
        row["case"], f"{row['trials']:,}", cell("ledger_mb", 0), cell("cpu_s", 1), f"{low:.1f} to {high:.1f}",
        cell("peak_mb", 0), cell("before_cpu_s", 1), cell("before_peak_mb", 0), cell("ratio", 2), cell("target_s", 0),
        cell("target_mb", 0),
    ]  # fmt: skip


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
