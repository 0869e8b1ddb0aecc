"""How far back does the slow-net see at the start of training? The two history layouts side by side.

Run: ``python -m benchmarks.horizon`` (about 10 minutes: long sequences in plain PyTorch; ``--backend auto`` takes the fast
twin, which leaves out tokens that nothing remembers; ``--largest 9216`` leaves out the longest).
Prints a table and writes ``benchmarks/results/horizon.json``.

The gradients are real: a 1-bit ResNet-20 (dorefa) takes L straight-through SGD steps on the synthetic images, and the history of
one layer of each size is kept. The slow-net is the library's, freshly drawn (``init: random``), in float64. What is
measured is its answer S alone; the residual path, slow = g + S, would hide every small number behind g.

    own      change of S_i when weight i's previous gradient changes sign, over the change when its newest does (RMS of probes)
    older    ||S' - S|| / ||S||, S' with all older gradients of the layer permuted among its weights
    LRE      ||S' - S|| / ||S||, S' with the layer embedding one larger

``flattened`` reads raw gradients, as the reference code does; at the two smaller sizes also a tenth of them, because the
block is not linear and gradients shrink in training. ``per_weight`` reads them in units of the layer's RMS, so their size says
nothing; it is measured with 8 taps, which reach the layer embedding 5 tokens back, and with 4, which do not.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import table, write
from fsg.catalogue.gradients import Fsg
from fsg.config import TrialConfig
from fsg.gradients import make_estimator
from fsg.gradients.fsg import FastSlowEstimator
from fsg.layers import quantized_layers
from fsg.ops.spans import Spans
from fsg.train import Trainer

SIZES = (432, 2304, 9216, 36864)  # weights of one layer: the four kinds of 3x3 convolution in a ResNet-20
LENGTH = 5
D_INNER, D_STATE = 100, 16
TAPS = (8, 4)  # d_conv of the reference experiment, and the library's default
PROBES = 4


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="How far back the slow-net sees, in both layouts.")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="largest layer size (default: %(default)s)")
    parser.add_argument("--backend", choices=("reference", "auto"), default="reference", help="of the flattened layout")
    parser.add_argument("--seeds", type=int, default=3, help="freshly drawn slow-nets (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the scan is a loop over small arrays
    started = time.perf_counter()
    histories = {n: window for n, window in layer_histories().items() if n <= arguments.largest}
    rows: list[dict[str, Any]] = []
    for n, window in histories.items():
        print(f"n = {n:,}", flush=True)
        for seed in range(arguments.seeds):
            for taps in TAPS:
                rows.append(
                    {"layout": f"per_weight, {taps} taps", "n": n, "seed": seed, **per_weight(window, seed, taps)}
                )
            if n < SIZES[-1]:
                rows.append(
                    {"layout": "flattened", "n": n, "seed": seed, **flattened(window, seed, backend=arguments.backend)}
                )
            if n < SIZES[-2]:
                rows.append(
                    {
                        "layout": "flattened, g / 10",
                        "n": n,
                        "seed": seed,
                        **flattened(window / 10, seed, backend=arguments.backend),
                    }
                )
    if arguments.largest >= SIZES[-1]:
        n = SIZES[-1]
        rows.append(
            {"layout": "flattened", "n": n, "seed": 0, **window_length(histories[n], 0, backend=arguments.backend)}
        )
    print("\n\n".join([table(HEADER, cells(rows)), *longest(rows)]))
    settings = {
        "d_inner": D_INNER, "d_state": D_STATE, "d_conv": TAPS[0], "length": LENGTH,
        "dtype": "float64", "backend": arguments.backend,
        "rms_of_newest_gradient": {n: rms(window[-1]) for n, window in histories.items()},
    }  # fmt: skip
    path = write("horizon", settings, {"seconds": round(time.perf_counter() - started, 1), "rows": rows})
    print(f"\n{time.perf_counter() - started:.0f} s, written to {path}")
    return 0


def layer_histories(steps: int = LENGTH, batch: int = 128) -> dict[int, Tensor]:
    """g of the first ``steps`` straight-through steps of a 1-bit ResNet-20: for each size one layer's (steps, n), float64."""
    data = {"name": "synthetic", "batch_size": batch, "augment": False}
    config = {
        "model": "resnet20",
        "gradient": "ste",
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "data": data,
        "device": "cpu",
    }
    trainer = Trainer(TrialConfig.model_validate(config))
    images, labels = trainer.data.train.images, trainer.data.train.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    grads = []
    for step in range(steps):
        index = order[step * batch : (step + 1) * batch]
        trainer.step(trainer.inputs(images[index]), labels[index])
        grads.append(trainer.step.signal.grad)  # type: ignore[attr-defined]
    sizes = [layer.weight.numel() for layer in quantized_layers(trainer.model).values()]
    parts = Spans(sizes).split(torch.stack(grads).double())
    return {n: parts[sizes.index(n)].contiguous() for n in SIZES}


def fresh(layout: str, seed: int, d_conv: int, n: int, backend: str) -> FastSlowEstimator:
    """The library's estimator for one layer of n weights, freshly drawn, in float64."""
    config = Fsg.model_validate({
        "layout": layout, "normalization": "rms" if layout == "per_weight" else "none", "init": "random", "length": LENGTH,
        "slow": {"d_inner": D_INNER, "d_state": D_STATE, "d_conv": d_conv, "backend": backend},
    })  # fmt: skip
    torch.manual_seed(seed)
    estimator = make_estimator(config, Spans([n]))
    assert isinstance(estimator, FastSlowEstimator)
    return estimator.double()


@torch.no_grad()
def flattened(window: Tensor, seed: int, d_conv: int = TAPS[0], backend: str = "reference") -> dict[str, float]:
    """Own, older and LRE of one layer's (L, n) history as one sequence of 1 + L n tokens."""
    n = window.shape[1]
    estimator = fresh("flattened", seed, d_conv, n, backend)
    assert estimator.embedding is not None
    embedding = estimator.embedding()[0]
    plain = torch.cat([embedding, window.flatten()])
    probes = torch.linspace(n // 4, n - 1, PROBES).long().tolist()
    changed = [torch.cat([embedding + 1, window.flatten()]), torch.cat([embedding, permuted(window, seed).flatten()])]
    for back in (2, 1):
        for i in probes:
            sequence = plain.clone()
            sequence[len(sequence) - back * n + i] *= -1
            changed.append(sequence)
    answers = answer(estimator, [plain, *changed], n)
    base, lre, older = answers[:3]
    moved = [(a - base)[i] for a, i in zip(answers[3:], probes * 2, strict=True)]
    own = rms(torch.stack(moved[:PROBES])) / rms(torch.stack(moved[PROBES:]))
    return {"own": own, "older": relative(older, base), "lre": relative(lre, base)}


@torch.no_grad()
def window_length(
    window: Tensor, seed: int, d_conv: int = TAPS[0], backend: str = "reference"
) -> dict[str, float | bool]:
    """L = 2 against L = 5 in ``flattened``, and whether the layer embedding is seen at L = 2."""
    n = window.shape[1]
    estimator = fresh("flattened", seed, d_conv, n, backend)
    assert estimator.embedding is not None
    embedding = estimator.embedding()[0]
    (whole,) = answer(estimator, [torch.cat([embedding, window.flatten()])], n)
    short, lre = answer(estimator, [torch.cat([embedding + d, window[-2:].flatten()]) for d in (0, 1)], n)
    return {
        "L2_to_L5": relative(whole, short), "L2_equals_L5_to_the_last_bit": bool((whole == short).all()),
        "lre_at_L2": relative(lre, short),
    }  # fmt: skip


@torch.no_grad()
def per_weight(window: Tensor, seed: int, d_conv: int = TAPS[0], backend: str = "auto") -> dict[str, float]:
    """The same of a history read weight by weight, 1 + L tokens each."""
    n = window.shape[1]
    estimator = fresh("per_weight", seed, d_conv, n, backend)
    assert estimator.embedding is not None

    def s(history: Tensor) -> Tensor:
        return estimator._slow(history) - history[-1]

    base, older = s(window), s(permuted(window, seed))
    signs = torch.ones_like(window)
    changes = []
    for back in (2, 1):
        signs[-back] = -1
        changes.append(rms(s(window * signs) - base))
        signs[-back] = 1
    estimator.embedding.table.weight += 1
    return {"own": changes[0] / changes[1], "older": relative(older, base), "lre": relative(s(window), base)}


def answer(estimator: FastSlowEstimator, sequences: list[Tensor], outputs: int) -> list[Tensor]:
    """S at the last tokens of each sequence, as many at a time as fit into about 2 GB."""
    length = len(sequences[0])
    part = max(1, int(2e9 / (8 * 8 * D_INNER * length)))
    return [row for rows in torch.stack(sequences).split(part) for row in estimator.slow(rows, outputs=outputs)]


def permuted(window: Tensor, seed: int) -> Tensor:
    """The older gradients given to other weights; the newest where it was."""
    generator = torch.Generator().manual_seed(seed)
    older = [row[torch.randperm(len(row), generator=generator)] for row in window[:-1]]
    return torch.stack([*older, window[-1]])


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


def relative(changed: Tensor, base: Tensor) -> float:
    """||changed - base|| / ||base||."""
    return float((changed - base).norm() / base.norm())


HEADER = ["layout", "n", "own previous / newest", "older permuted", "LRE + 1"]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Medians over seeds with their ranges, a line per layout and size."""
    lines = []
    for layout in sorted({r["layout"] for r in rows}):
        for n in SIZES:
            found = [r for r in rows if r["layout"] == layout and r["n"] == n and "own" in r]
            if found:
                columns = [[r[k] for r in found] for k in ("own", "older", "lre")]
                lines.append([layout, f"{n:,}", *(f"{median(c):.1e} ({min(c):.0e} .. {max(c):.0e})" for c in columns)])
    return lines


def longest(rows: list[dict[str, Any]]) -> list[str]:
    """What the comparison of window lengths says."""
    lines = []
    for row in rows:
        if "L2_to_L5" in row:
            equal = "equal to the last bit" if row["L2_equals_L5_to_the_last_bit"] else "not equal to the last bit"
            lines.append(
                f"flattened, n = {row['n']:,}: L = 2 and L = 5 differ by {row['L2_to_L5']:.1e} ({equal}); "
                f"LRE + 1 at L = 2 changes {row['lre_at_L2']:.1e}"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
