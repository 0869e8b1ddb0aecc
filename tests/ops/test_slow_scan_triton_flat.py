"""The Triton twin of layout ``flattened`` against the reference: on a GPU where there is one, else in Triton's interpreter."""

import math
import os
import subprocess
import sys

import pytest
import torch
from slow_scan_cases import assert_same, problem, reference

from fsg.ops.slow_scan import MambaWeights, slow_scan_flat

pytest.importorskip("triton", reason="triton is not installed")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = [(torch.float64, 1e-12), (torch.float32, 1e-5)]
# lengths, outputs, K, D, S: a chunk is cut to 8 tokens; none divides it, one is it, one token, all answer, more taps than tokens
CASES = [
    ([1], [1], 1, 1, 1),
    ([19, 8, 1, 5], [7, 8, 1, 2], 4, 3, 3),
    ([3, 30], [3, 1], 8, 2, 5),
]


@pytest.fixture
def twin(monkeypatch):
    from fsg.ops.slow_scan import triton_flat

    monkeypatch.setattr(triton_flat, "BLOCK", 8)
    triton_flat._plan.cache_clear()
    yield triton_flat
    triton_flat._plan.cache_clear()


def draw(lengths, outputs, *sizes, bias=None):
    tokens, weights = problem(1, sum(lengths), *sizes)
    if bias is not None:
        weights = weights._replace(dt_bias=torch.linspace(*bias, sizes[1], dtype=torch.float64))
    return tokens[0], weights, torch.randn(sum(outputs), dtype=torch.float64)


def one_by_one(tokens, lengths, outputs, weights):
    parts = zip(tokens.split(lengths), outputs, strict=True)
    return torch.cat([reference(part[None], weights, n)[0] for part, n in parts])


def everything(function, lengths, outputs, tokens, weights, upstream, dtype=torch.float64, device="cpu"):
    tokens = tokens.to(device, dtype).clone().requires_grad_()
    weights = MambaWeights(*(w.to(device, dtype).clone().requires_grad_() for w in weights))
    output = function(tokens, lengths, outputs, weights)
    output.backward(upstream.to(device, dtype))
    found = {"output": output.detach(), "tokens": tokens.grad, **{k: w.grad for k, w in weights._asdict().items()}}
    return {name: value.double().cpu() for name, value in found.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE, ids=["float64", "float32"])
def test_flat_triton_twin_matches_the_reference_in_output_and_every_gradient(twin, case, dtype, tolerance):
    lengths, outputs, *sizes = case
    drawn = draw(lengths, outputs, *sizes)
    expected = everything(one_by_one, lengths, outputs, *drawn)
    assert_same(everything(twin.slow_scan_flat, lengths, outputs, *drawn, dtype, DEVICE), expected, tolerance)


def test_a_cut_prefix_changes_nothing_beyond_rounding(twin):
    """With steps of one to two, 20 tokens are forgotten to 2e-9; float32 cuts the first chunks away."""
    lengths, outputs = [70, 9], [10, 4]
    drawn = draw(lengths, outputs, 3, 3, 2, bias=(1.5, 2.5))
    tokens, weights = drawn[0].float().to(DEVICE), MambaWeights(*(w.float().to(DEVICE) for w in drawn[1]))
    output = twin.slow_scan_flat(tokens.requires_grad_(), lengths, outputs, weights)
    first = output.grad_fn.saved_tensors[3]
    assert 2 < int(first[0]) < 7 and int(first[1]) == 9  # chunks 0 to 8, 9 to 10
    expected = everything(one_by_one, lengths, outputs, *drawn)
    found = everything(twin.slow_scan_flat, lengths, outputs, *drawn, torch.float32, DEVICE)
    assert_same(found, expected, 1e-5)
    assert not found["tokens"][: 8 * int(first[0]) - 2].any()


def test_the_cut_is_the_shortest_prefix_to_a_chunk(twin):
    lengths, outputs = [90], [6]
    tokens, w, _ = draw(lengths, outputs, 3, 2, 2, bias=(1.0, 2.0))
    x = torch.nn.functional.pad(tokens[:, None] * w.in_proj[:2, 0], (0, 0, 2, 0))
    u = torch.nn.functional.silu(w.conv_bias + sum(w.conv_weight[:, 0, k] * x[k : k + 90] for k in range(3)))
    dt = torch.nn.functional.softplus((u @ w.x_proj[0])[:, None] * w.dt_weight[:, 0] + w.dt_bias)
    ahead = dt[:84].flip(0).cumsum(0).flip(0)
    last = int(((w.A_log.exp().min(1).values * ahead).min(1).values > 40).nonzero().max())
    weights = MambaWeights(*(x.to(DEVICE) for x in w))
    output = twin.slow_scan_flat(tokens.to(DEVICE).requires_grad_(), lengths, outputs, weights)
    assert int(output.grad_fn.saved_tensors[3][0]) == last // 8 > 0


def test_programs_that_stride_over_several_chunks_change_nothing_beyond_rounding(twin, monkeypatch):
    monkeypatch.setattr(twin, "PROGRAMS", 2)
    lengths, outputs = [33, 14], [20, 14]
    drawn = draw(lengths, outputs, 3, 2, 2)
    expected = everything(one_by_one, lengths, outputs, *drawn)
    assert_same(everything(twin.slow_scan_flat, lengths, outputs, *drawn, device=DEVICE), expected, 1e-12)


def test_memory_is_never_read_before_it_is_written(twin, monkeypatch):
    lengths, outputs = [70, 9], [10, 4]
    drawn = draw(lengths, outputs, 3, 2, 2, bias=(1.5, 2.5))
    clean = everything(twin.slow_scan_flat, lengths, outputs, *drawn, torch.float32, DEVICE)
    empty, like = torch.Tensor.new_empty, torch.empty_like

    def poisoned(x):
        return x.fill_(math.nan) if x.is_floating_point() else x.fill_(-1)

    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size, **k: poisoned(empty(self, *size, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda x, **k: poisoned(like(x, **k)))
    found = everything(twin.slow_scan_flat, lengths, outputs, *drawn, torch.float32, DEVICE)
    assert_same(found, clean, 0.0)


def test_the_backend_triton_runs_all_sequences_in_one_call(twin, monkeypatch):
    tokens, weights, _ = draw([5, 9], [2, 3], 2, 2, 2)
    here = MambaWeights(*(w.to(DEVICE) for w in weights))
    called = []
    whole = twin.slow_scan_flat
    monkeypatch.setattr(twin, "slow_scan_flat", lambda *args: called.append(args) or whole(*args))
    found = slow_scan_flat(tokens.to(DEVICE), [5, 9], [2, 3], here, backend="triton")
    assert len(called) == 1
    torch.testing.assert_close(found.cpu(), one_by_one(tokens, [5, 9], [2, 3], weights))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fsg.ops.slow_scan import triton_flat as twin

ints = "chunks sequences first".split()
scalars = "count length channels states".split()
constants = {"taps": 4, "S2": 4, "BLOCK": twin.BLOCK, "D2": 8, "wanted": True, "backward": True}
for name in ("_steps", "_start", "_own_states", "_carry", "_answers", "_own_gradients", "_backward"):
    kernel = getattr(twin, name)
    signature, used = {}, {}
    for n in kernel.arg_names:
        kind = "*i64" if n in ints else "i32" if n in scalars else "fp32" if n == "forgotten" else "*fp32"
        signature[n] = "constexpr" if n in constants else kind
        used |= {n: constants[n]} if n in constants else {}
    source = ASTSource(fn=kernel, signature=signature, constexprs=used)
    print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]))
"""


def test_kernels_compile_for_a_gpu_without_one():
    """The interpreter allows what the compiler does not."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 7 and all(int(size) > 1000 for size in done.stdout.split())
