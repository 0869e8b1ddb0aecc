"""A GPU measured against itself: the slow-net against what the device can do, an FSG step against an STE step.

The floor is counted as on the CPU (slow_scan.py), at the rates of exp2, division and fused multiply-add that small kernels
reach on this device; a division counts as an exp2, both being special functions. Beside mamba-ssm where it is installed;
else beside a naive launch pattern, the reference layer by layer, and said so.
Proof that the kernels run: tests/benchmarks/test_gpu_bench.py, in Triton's interpreter. Not run on a GPU yet.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
import triton
import triton.language as tl
from torch import Tensor

from fsg.bench.measure import Measurement, at_most, interleaved, ratio, spread
from fsg.config import parse_trial

CHAINS = 1024  # independent numbers of a program, enough to hide the latency of each
ROUNDS = 4096  # operations on each number, one after the other
ABOVE_FLOOR, FASTER, STEP_LIMIT = 2.0, 10.0, 1.5  # targets: x, x, x
STEPS = 10


@triton.jit
def exp2_chain(out, rounds, BLOCK: tl.constexpr):
    """x -> 2^-x, which stays between 0.5 and 1."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = at.to(tl.float32) * 0.0 + 0.5
    for _ in range(rounds):
        x = tl.exp2(-x)
    tl.store(out + at, x)


@triton.jit
def fma_chain(out, rounds, BLOCK: tl.constexpr):
    """x -> x / 2 + 1 / 2, which goes to 1."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = at.to(tl.float32) * 0.0
    for _ in range(rounds):
        x = x * 0.5 + 0.5
    tl.store(out + at, x)


def chain(kernel: Callable[..., None], programs: int, rounds: int, device: str) -> Tensor:
    """Run ``kernel``: programs x CHAINS x rounds operations."""
    out = torch.empty(programs * CHAINS, device=device)
    kernel[(programs,)](out, rounds, BLOCK=CHAINS)  # type: ignore[index]
    return out


def slow_scan_rows(rounds: int = 10) -> list[Measurement]:
    """The Triton twin, forward and backward, on ResNet-20's weights."""
    from fsg.bench.slow_scan import RESNET20, SIZES, TOKENS, block, both_ways
    from fsg.ops.slow_scan import slow_scan
    from fsg.ops.slow_scan.operations import operations

    device = torch.cuda.get_device_name(0)
    row = partial(Measurement, "slow_scan", device=device)
    programs = 16 * torch.cuda.get_device_properties(0).multi_processor_count
    peaks = {
        "exp2": waiting(lambda: chain(exp2_chain, programs, ROUNDS, "cuda")),
        "fma": waiting(lambda: chain(fma_chain, programs, ROUNDS, "cuda")),
    }
    total, found = sum(RESNET20), []
    for size in SIZES:
        weights = block(size, "cuda")
        tokens = torch.randn(total, TOKENS, device="cuda", requires_grad=True)
        layers = [part.detach().clone().requires_grad_() for part in tokens.split(RESNET20)]

        def alone(backend: str, layers: list[Tensor] = layers, weights: object = weights) -> None:
            for layer in layers:
                both_ways(layer, weights, partial(slow_scan, backend=backend))  # type: ignore[arg-type]

        rival: str = "mamba_ssm" if find_spec("mamba_ssm") and size.d_conv <= 4 else "reference"
        times = interleaved(
            {
                **peaks,
                "triton": waiting(partial(both_ways, tokens, weights, partial(slow_scan, backend="triton"))),
                "rival": waiting(partial(alone, rival)),
            },
            rounds,
        )
        counted = operations(tokens.numel(), total * (TOKENS - 1), total, size.d_inner, size.d_state, size.d_conv)
        done = programs * CHAINS * ROUNDS
        floors = [
            ((counted["exp"] + counted["divide"]) * e + counted["multiply-add"] * f) / done
            for e, f in zip(times["exp2"], times["fma"], strict=True)
        ]
        case = f"ResNet-20, {size.name}"
        above, above_iqr = ratio(times["triton"], floors)
        faster, faster_iqr = ratio(times["rival"], times["triton"])
        against = "mamba_ssm" if rival == "mamba_ssm" else "naive launches (reference)"
        found += [
            *(row(f"{case}: peak {k}", done / statistics.median(times[k]) / 1e9, "G/s") for k in peaks),
            row(f"{case}: floor", 1e3 * statistics.median(floors), "ms", spread=1e3 * spread(floors)),
            row(f"{case}: triton", 1e3 * statistics.median(times["triton"]), "ms", spread=1e3 * spread(times["triton"])),
            replace(at_most("slow_scan", f"{case}: triton / floor", above, "x", ABOVE_FLOOR, above_iqr), device=device),
            row(
                f"{case}: {against} layer by layer / triton", faster, "x", f">= {FASTER:g} x", faster >= FASTER,
                faster_iqr,
            ),
        ]  # fmt: skip
    return found


def step_rows(rounds: int = 15) -> list[Measurement]:
    """FSG / STE on ResNet-20, both captured and both not, at the default sizes and at the paper's."""
    from fsg.train import Trainer

    found = []
    paper = {"name": "fsg", "slow": {"d_inner": 100, "d_state": 16, "d_conv": 8}}
    for captured in (True, False):
        steps: dict[str, Callable[[], object]] = {}
        for name, gradient in {"ste": "ste", "fsg": "fsg", "fsg, paper's sizes": paper}.items():
            base = {"model": "resnet20", "gradient": gradient, "data": {"name": "synthetic", "batch_size": 128}}
            trainer = Trainer(parse_trial({**base, "device": "cuda", "deterministic": False, "cuda_graph": captured}))
            images = trainer.inputs(trainer.data.train.images[:128])
            labels = trainer.data.train.labels[:128]
            for _ in range(STEPS):  # until the graph is captured
                trainer.step(images, labels)
            steps[name] = waiting(partial(_repeat, trainer.step, images, labels))
        times = interleaved(steps, rounds)
        for name in list(steps)[1:]:
            value, iqr = ratio(times[name], times["ste"])
            case = f"{name} / ste, ResNet-20, batch 128, {'CUDA graphs' if captured else 'no graphs'}"
            device = torch.cuda.get_device_name(0)
            if name == "fsg":
                found.append(replace(at_most("step", case, value, "x", STEP_LIMIT, iqr), device=device))
            else:
                found.append(Measurement("step", case, value, "x", spread=iqr, device=device))
    return found


def _repeat(step: Callable[[Tensor, Tensor], object], images: Tensor, labels: Tensor) -> None:
    for _ in range(STEPS):
        step(images, labels)


def waiting(work: Callable[[], object]) -> Callable[[], None]:
    """``work``, and until the device has done it."""

    def done() -> None:
        work()
        torch.cuda.synchronize()

    return done
