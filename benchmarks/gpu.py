"""All that needs a GPU, in one go: its tests, the Triton twins, steps of every estimator, packs. Exits with 2 without one.

Run: ``python -m benchmarks.gpu`` (at most ten minutes; the same command again on the same day goes on where it stopped).
Writes ``benchmarks/results/gpu_DATE.json`` after each part:

- ``tests``: every test marked gpu; Triton's twins against the reference, and against mamba-ssm where that is installed
  (``pip install --no-build-isolation -e ".[cuda]"`` builds it).
- ``slow_scan``: forward and backward on ResNet-20's weights against the device's floor and against mamba-ssm.
- ``step of X``: X against ``ste``, ResNet-20, batch 128, both with CUDA graphs and both without.
- ``pack of K``: a fused step of K seeds against K steps apart, for ``ste`` and for ``fsg``.

Each part is a process of its own, so that one that hangs or dies is a line of the record and no more; a part that failed is tried
again by the next call. Times are the device's, waited for, interleaved; a row has the median of the ratios and its
interquartile range. Exits with 1 where a part failed or a target was missed. Proof: ``tests/benchmarks/test_gpu_script.py``.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, table

Rows = list[dict[str, Any]]
BUDGET = 570.0  # seconds of a call
SLOWEST = {"tests": 240.0, "slow_scan": 120.0}  # seconds that a part may take
SLOW = 60.0
ESTIMATORS = ["ema", "scalar", "multi_fc", "fc_grad", "lstm_fc", "hand_gate", "gate", "fsg", "fsg, paper's sizes"]
PACKS = [1, 4, 16]
PAPER = {"name": "fsg", "slow": {"d_inner": 100, "d_state": 16, "d_conv": 8}}
ROUNDS, STEPS, BATCH = 7, 5, 128
STEP_LIMIT = 1.5  # of a step of fsg to one of ste
NO_GPU = "benchmarks.gpu: torch sees no CUDA device on this machine; nothing was measured. Run it where there is one."


def main() -> int:
    """Run what is left of today's record; or one part of it, whose rows are printed as JSON."""
    parser = argparse.ArgumentParser(description="Everything that needs a GPU.")
    parser.add_argument("--part", choices=list(PARTS), help="measure this part alone and print it; nothing is written")
    given = parser.parse_args()
    if find_spec("torch") is None or not _has_gpu():
        print(NO_GPU, file=sys.stderr)
        return 2
    if given.part:
        print(json.dumps(PARTS[given.part]()))
        return 0
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return run(list(PARTS), RESULTS / f"gpu_{today}.json", measured, about())


def run(parts: Sequence[str], path: Path, measure: Callable[[str, float], Rows], about: dict[str, Any]) -> int:
    """Measure the ``parts`` that the record at ``path`` lacks, each with the seconds it may take, and print all of it.

    0 where all were measured and every target holds; 1 where not. What does not fit into BUDGET is left to the next call.
    """
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**about, "parts": {}}
    done, began = record["parts"], time.monotonic()
    for name in parts:
        left = BUDGET - (time.monotonic() - began)
        if "rows" in done.get(name, {}) or left < 1:
            continue
        start, found = time.monotonic(), {}
        try:
            found["rows"] = measure(name, min(left, SLOWEST.get(name, SLOW)))
        except Exception as error:  # the next part may do better
            found["error"] = f"{type(error).__name__}: {error}"[-2000:]
        done[name] = {**found, "seconds": round(time.monotonic() - start, 1)}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(HEADER, [cells for name in parts for cells in _cells(name, done.get(name, {}))]))
    missing = [name for name in parts if "rows" not in done.get(name, {})]
    missed = [row for name in parts for row in done.get(name, {}).get("rows", []) if row.get("holds") is False]
    print(f"written to {path}; left: {', '.join(missing) or 'nothing'}")
    return 1 if missing or missed else 0


def measured(part: str, seconds: float) -> Rows:
    """A part in a process of its own. RuntimeError for one that fails, with the end of what it said."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, cwd=Path(__file__).parents[1], check=False
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-1500:]}")
    rows: Rows = json.loads(done.stdout.splitlines()[-1])
    return rows


def about() -> dict[str, Any]:
    """Where and when."""
    import torch

    from fsg.record.ledger_header import installed_versions

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks.gpu",
        "versions": installed_versions(),
        "device": torch.cuda.get_device_name(0),
        "mamba_ssm": find_spec("mamba_ssm") is not None,
    }


# Parts ----------------------------------------------------------------------------------------------------------------
def _tests() -> Rows:
    """How many tests marked gpu passed, failed and were skipped, and the names of those that failed."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "gpu", "-q", "-rf", "--no-header", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    return counted(done.stdout)


def counted(said: str) -> Rows:
    """The rows of pytest's last line, and its list of failures. RuntimeError where it ran none."""
    words = said.strip().splitlines()[-1].replace(",", " ").replace("=", " ").split() if said.strip() else []
    pairs = itertools.pairwise(words)
    counts = {what: int(count) for count, what in pairs if count.isdigit() and what.isalpha() and what != "deselected"}
    failed = [line.split()[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if not {"passed", "failed"} & counts.keys():
        raise RuntimeError(f"pytest ran no test: {said[-1500:]}")
    rows: Rows = [{"case": what, "value": count, "unit": "tests", "holds": None} for what, count in counts.items()]
    return [
        *rows,
        {
            "case": "failed: " + (", ".join(failed) or "none"),
            "value": len(failed),
            "unit": "tests",
            "holds": not failed,
        },
    ]


def _slow_scan() -> Rows:
    from fsg.bench.gpu import slow_scan_rows

    return [found.as_json() for found in slow_scan_rows(ROUNDS)]


def _step(estimator: str) -> Rows:
    from fsg.bench.gpu import waiting
    from fsg.bench.measure import interleaved, ratio

    rows = []
    for captured in (True, False):
        steps = {}
        for name in ("ste", estimator):
            trainer = _trainer(PAPER if name == "fsg, paper's sizes" else name, 0, cuda_graph=captured)
            images, labels = trainer.inputs(trainer.data.train.images[:BATCH]), trainer.data.train.labels[:BATCH]
            for _ in range(10):  # until the graph is captured
                trainer.step(images, labels)
            steps[name] = waiting(partial(_often, partial(trainer.step, images, labels)))
        times = interleaved(steps, ROUNDS)
        value, iqr = ratio(times[estimator], times["ste"])
        holds = value <= STEP_LIMIT if estimator == "fsg" and captured else None
        case = "CUDA graphs" if captured else "no graphs"
        milliseconds = {name: round(1000 * min(each) / STEPS, 3) for name, each in times.items()}
        rows.append({"case": case, "value": value, "unit": "x ste", "spread": iqr, "holds": holds, "ms": milliseconds})
    return rows


def _pack(members: int) -> Rows:
    import torch

    from fsg.bench.gpu import waiting
    from fsg.bench.measure import interleaved, ratio
    from fsg.train.fused.step import FusedStep
    from fsg.train.fused.trainer import batch_of

    rows = []
    for name in ("ste", "fsg"):
        apart = [_trainer(name, seed) for seed in range(members)]
        pack = [_trainer(name, seed, fused=True) for seed in range(members)]
        images, labels = apart[0].inputs(apart[0].data.train.images[:BATCH]), apart[0].data.train.labels[:BATCH]
        fused = FusedStep(pack)
        fused.gather()
        index = torch.arange(BATCH, device=images.device).expand(members, -1)
        (inputs, all_labels), progress = batch_of(pack, index), [0.0] * members
        steps = {
            "apart": waiting(partial(_often, lambda each=apart, x=images, y=labels: [one.step(x, y) for one in each])),
            "fused": waiting(partial(_often, partial(fused, inputs, all_labels, progress))),
        }
        times = interleaved(steps, ROUNDS)
        value, iqr = ratio(times["fused"], times["apart"])
        milliseconds = {side: round(1000 * min(each) / STEPS, 3) for side, each in times.items()}
        rows.append({"case": name, "value": value, "unit": "x apart", "spread": iqr, "holds": None, "ms": milliseconds})
    return rows


def _trainer(gradient: Any, seed: int, **options: Any) -> Any:
    from fsg.config import parse_trial
    from fsg.train import Trainer

    base = {"model": "resnet20", "gradient": gradient, "seed": seed, "device": "cuda", "deterministic": False}
    return Trainer(
        parse_trial({**base, "data": {"name": "synthetic", "batch_size": BATCH, "augment": False}, **options})
    )


def _often(step: Callable[[], object]) -> None:
    for _ in range(STEPS):
        step()


PARTS: dict[str, Callable[[], Rows]] = {
    "tests": _tests,
    "slow_scan": _slow_scan,
    **{f"step of {name}": partial(_step, name) for name in ESTIMATORS},
    **{f"pack of {members}": partial(_pack, members) for members in PACKS},
}
HEADER = ["part", "case", "value", "unit", "IQR", "holds"]


def _cells(part: str, found: dict[str, Any]) -> list[list[str]]:
    if "rows" not in found:
        return [
            [part, found.get("error", "not measured yet").splitlines()[-1][:80], "", "", "", "FAILED" if found else ""]
        ]
    says = {True: "yes", False: "MISSED", None: ""}
    lines = []
    for row in found["rows"]:
        spread = f"{row['spread']:.2g}" if row.get("spread") else ""
        lines.append([part, row["case"], f"{row['value']:.3g}", row["unit"], spread, says[row.get("holds")]])
    return lines


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    raise SystemExit(main())
