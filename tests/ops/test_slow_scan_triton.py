"""The Triton twin against the reference: on a GPU where there is one, else in Triton's interpreter."""

import math
import os
import subprocess
import sys

import pytest
import torch
from slow_scan_cases import assert_same, everything, problem, reference

from fsg.ops.slow_scan import MambaWeights

pytest.importorskip("triton", reason="triton is not installed")

# B, L, K, D, S: no size divides a tile, several blocks of weights, one token, more taps than tokens
SIZES = [(1, 1, 1, 1, 1), (33, 3, 2, 3, 5), (70, 6, 4, 4, 4), (5, 2, 8, 2, 3)]
TOLERANCE = [(torch.float64, 1e-12), (torch.float32, 1e-5)]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def twin():
    from fsg.ops.slow_scan import triton

    return triton


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE, ids=["float64", "float32"])
def test_triton_twin_matches_the_reference_in_output_and_every_gradient(twin, size, dtype, tolerance):
    tokens, weights = problem(*size)
    upstream = torch.randn(size[0], 1, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(twin.slow_scan, tokens, weights, upstream, dtype, DEVICE), expected, tolerance)


def test_programs_that_stride_over_several_blocks_change_nothing_beyond_rounding(twin, monkeypatch):
    monkeypatch.setattr(twin, "PROGRAMS", 2)
    tokens, weights = problem(150, 4, 3, 2, 3)
    upstream = torch.randn(150, 1, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(twin.slow_scan, tokens, weights, upstream, torch.float64, DEVICE), expected, 1e-12)


def test_memory_is_never_read_before_it_is_written(twin, monkeypatch):
    tokens, weights = problem(40, 3, 2, 3, 2)
    upstream = torch.randn(40, 1, dtype=torch.float64)
    clean = everything(twin.slow_scan, tokens, weights, upstream, torch.float32, DEVICE)
    empty = torch.Tensor.new_empty

    def poisoned(self, *size, **options):
        return empty(self, *size, **options).fill_(math.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    assert_same(everything(twin.slow_scan, tokens, weights, upstream, torch.float32, DEVICE), clean, 0.0)


def test_gradients_are_made_only_where_they_are_asked_for(twin):
    tokens, weights = problem(5, 3, 2, 2, 2)
    weights = MambaWeights(*(w.to(DEVICE).requires_grad_() for w in weights))
    twin.slow_scan(tokens.to(DEVICE), weights, 1).sum().backward()
    assert tokens.grad is None and all(w.grad is not None for w in weights)


def test_steps_beyond_the_thresholds_stay_close(twin):
    tokens, weights = problem(20, 3, 2, 3, 2)
    weights = weights._replace(dt_bias=torch.tensor([-40.0, 19.5, 30.0], dtype=torch.float64))
    upstream = torch.randn(20, 1, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(twin.slow_scan, tokens, weights, upstream, torch.float64, DEVICE), expected, 1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("taps", [2, 4])
def test_mamba_ssm_matches_the_reference_in_output_and_every_gradient(taps):
    pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed")
    from fsg.ops.slow_scan.mamba import slow_scan

    tokens, weights = problem(40, 6, taps, 8, 4)
    upstream = torch.randn(40, 1, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(slow_scan, tokens, weights, upstream, torch.float32, "cuda"), expected, 1e-4)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fsg.ops.slow_scan import triton as twin

arrays = {"_forward": "packed tokens out", "_backward": "packed tokens upstream g_packed g_tokens waiting"}
for name, pointers in arrays.items():
    kernel = getattr(twin, name)
    constants = {"taps": 4, "T2": 8, "S2": 4, "BLOCK": twin.BLOCK} | ({"wanted": True} if name == "_backward" else {})
    kinds = {p: "*fp32" for p in pointers.split()} | {k: "constexpr" for k in constants}
    signature = {n: kinds.get(n, "i32") for n in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]))
"""


def test_kernels_compile_for_a_gpu_without_one():
    """The interpreter allows what the compiler does not."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert all(int(size) > 1000 for size in done.stdout.split())
