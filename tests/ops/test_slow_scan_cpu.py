"""The CPU twin against the reference: output and every gradient, by name, at odd sizes."""

import json
import logging
import math

import numpy as np
import pytest
import torch
from slow_scan_cases import PER_WEIGHT, assert_same, everything, problem, reference

from fsg.errors import BackendUnavailable
from fsg.ops.slow_scan import MambaWeights, backends, slow_scan

cpu = pytest.importorskip("fsg.ops.slow_scan.cpu", reason="numba is not installed")

TOLERANCE = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def twin(tokens, weights, outputs):
    return slow_scan(tokens, weights, outputs, backend="cpu")


def gradients(tokens, weights, seed=3):
    upstream = torch.randn(len(tokens), 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return everything(twin, tokens, weights, upstream, torch.float32)


@pytest.mark.parametrize("size", PER_WEIGHT, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE, ids=["float64", "float32"])
def test_cpu_twin_matches_the_reference_in_output_and_every_gradient(size, dtype, tolerance):
    tokens, weights = problem(*size)
    upstream = torch.randn(size[0], 1, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(twin, tokens, weights, upstream, dtype), expected, tolerance)


def test_polynomials_are_as_exact_as_they_say():
    from numba import njit

    from fsg.ops.slow_scan import lanes

    load, _, _ = lanes.vectors_of(2)

    @njit
    def kernel(x, inverse, gate, value, slope):
        for i in range(len(x) // (1024 // 8 // x.itemsize)):
            at = load(x, i)
            lanes.store(inverse, i, lanes.reciprocal(at))
            gated = lanes.sigmoid(at)
            lanes.store(gate, i, gated)
            rise, e = lanes.softplus(at)
            lanes.store(value, i, rise)
            lanes.store(slope, i, lanes.softplus_slope(at, e))

    spread = np.concatenate([np.linspace(-30, 60, 20001), np.geomspace(1e-30, 1e30, 20001)])
    for dtype, tolerance in ((np.float32, 5e-7), (np.float64, 1e-14)):
        x = spread[: len(spread) // 32 * 32].astype(dtype)
        inverse, gate, value, slope = (np.empty_like(x) for _ in range(4))
        kernel(x, inverse, gate, value, slope)
        exact = torch.tensor(x, dtype=torch.float64)
        positive = x > 0
        np.testing.assert_allclose(inverse[positive], (1 / exact)[positive], rtol=tolerance)
        np.testing.assert_allclose(gate, torch.sigmoid(exact), rtol=5 * tolerance)
        np.testing.assert_allclose(value, torch.nn.functional.softplus(exact), rtol=5 * tolerance)
        rising = torch.where(exact > 20, 1.0, torch.sigmoid(exact))  # as torch's gradient
        np.testing.assert_allclose(slope, rising, rtol=5 * tolerance)


def test_scratch_memory_is_never_read_before_it_is_written(monkeypatch):
    tokens, weights = problem(40, 5, 4, 3, 5)
    clean = gradients(tokens, weights)
    empty = torch.Tensor.new_empty

    def poisoned(self, *size, **options):
        return empty(self, *size, **options).fill_(math.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    assert_same(gradients(tokens, weights), clean, 0.0)


def test_the_same_call_gives_the_same_bits_with_any_number_of_threads():
    tokens, weights = problem(3000, 4, 4, 3, 2)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 1, 2, 5):
            torch.set_num_threads(threads)
            found.append(gradients(tokens, weights))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_same(other, found[0], 0.0)


def test_gradients_are_made_only_where_they_are_asked_for():
    tokens, weights = problem(20, 4, 4, 3, 2)
    output = twin(tokens, MambaWeights(*(w.requires_grad_() for w in weights)), 1)
    assert output.grad_fn.next_functions[0][0].next_functions[0][0] is None  # nothing leads to the tokens
    output.sum().backward()
    assert tokens.grad is None and all(w.grad is not None for w in weights)
    tokens, weights = problem(20, 4, 4, 3, 2)
    output = twin(tokens.requires_grad_(), weights, 1)
    output.sum().backward()
    assert tokens.grad is not None and all(w.grad is None for w in weights)


def test_tokens_may_be_strided_and_the_upstream_gradient_expanded():
    tokens, weights = problem(37, 6, 4, 3, 2)
    a = everything(lambda x, w, n: twin(x.T.contiguous().T, w, n), tokens, weights, torch.ones(37, 1), torch.float64)
    b = everything(lambda x, w, n: twin(x, w, n), tokens, weights, torch.ones(1, 1).expand(37, 1), torch.float64)
    assert_same(a, b, 0.0)


def test_extreme_steps_and_gates_stay_finite_and_close():
    tokens, weights = problem(64, 4, 2, 3, 4)
    weights = weights._replace(dt_bias=torch.tensor([-60.0, 19.0, 40.0], dtype=torch.float64))
    upstream = torch.ones(64, 1, dtype=torch.float64)
    expected = everything(reference, 30 * tokens, weights, upstream, torch.float64)
    assert_same(everything(twin, 30 * tokens, weights, upstream, torch.float64), expected, 1e-12)
    found = everything(twin, 30 * tokens, weights, upstream, torch.float32)
    assert all(torch.isfinite(v).all() for v in found.values())


def test_a_token_that_is_not_a_number_is_not_hidden():
    tokens, weights = problem(5, 3, 2, 3, 2)
    tokens[2, 0] = math.nan
    output = twin(tokens, weights, 1)[:, 0]
    assert torch.isnan(output[2]) and torch.isfinite(output[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_golden_arrays_of_the_reference_code(backend, golden_dir):
    path = golden_dir / "mamba_unit.npz"
    if not path.exists():
        pytest.skip(f"{path} is missing: --golden-dir names the folder of golden arrays")
    stored = np.load(path)
    names = {"conv_weight": "conv1d.weight", "conv_bias": "conv1d.bias", "dt_weight": "dt_proj.weight"}
    names |= {"dt_bias": "dt_proj.bias", "A_log": "A_log", "D": "D"}
    names |= {n: f"{n}.weight" for n in ("in_proj", "x_proj", "out_proj")}
    checked = 0
    for name in sorted({k.split("/")[0] for k in stored.files}):
        if json.loads(str(stored[f"{name}/config_json"]))["d_model"] != 1:
            continue
        weights = MambaWeights(*(torch.tensor(stored[f"{name}/param/{names[f]}"]) for f in MambaWeights._fields))
        for case in sorted({k.split("/")[1] for k in stored.files if k.startswith(f"{name}/L")}):
            at = {k: torch.tensor(stored[f"{name}/{case}/{k}"]) for k in ("x", "y", "dy", "dx")}
            expected = {"output": at["y"][..., 0], "tokens": at["dx"][..., 0]}
            expected |= {f: torch.tensor(stored[f"{name}/{case}/dparam/{names[f]}"]) for f in MambaWeights._fields}
            run = everything(
                lambda x, w, n: slow_scan(x, w, n, backend=backend), at["x"][..., 0], weights, at["dy"][..., 0],
                torch.float64,
            )  # fmt: skip
            assert_same(run, expected, 1e-12)
            checked += 1
    assert checked


def test_chunked_reference_equals_the_whole_with_every_gradient():
    from fsg.ops.slow_scan.reference import slow_scan as chunked

    tokens, weights = problem(11, 4, 3, 2, 3)
    upstream = torch.randn(11, 2, dtype=torch.float64)
    whole = everything(reference, tokens, weights, upstream, torch.float64)
    for chunk in (1, 50, 10**9):
        found = everything(lambda x, w, n, c=chunk: chunked(x, w, n, c), tokens, weights, upstream, torch.float64)
        assert_same(found, whole, 1e-13)


def test_auto_says_once_what_it_chose_and_why(caplog):
    backends.choose.cache_clear()
    tokens, weights = problem(3, 2, 1, 1, 1)
    with caplog.at_level(logging.INFO, logger="fsg"):
        for _ in range(3):
            slow_scan(tokens, weights)
    assert [r.message for r in caplog.records] == ["slow_scan: backend cpu on cpu; the fastest here"]


def test_auto_without_numba_is_the_reference_and_says_how_to_get_it(caplog, monkeypatch):
    monkeypatch.setattr("fsg.catalogue.backends.find_spec", lambda name: None)
    backends.choose.cache_clear()
    with caplog.at_level(logging.INFO, logger="fsg"):
        assert backends.choose("auto", "cpu") == "reference"
    assert caplog.records[-1].message.endswith("cpu cannot run here: numba is not installed. pip install numba")
    with pytest.raises(BackendUnavailable, match=r'backend "cpu" cannot run here: numba is not installed. pip install'):
        backends.choose("cpu", "cpu")
    backends.choose.cache_clear()


@pytest.mark.parametrize(
    ("backend", "device", "message"),
    [
        ("mamba_ssm", "cpu", "needs a CUDA device, the tokens are on cpu. Use cpu there, or auto"),
        ("cpu", "cuda", "the tokens are on cuda. Use triton there, or auto"),
    ],
)
def test_a_backend_that_cannot_run_on_the_device_is_refused_with_the_way_out(backend, device, message):
    backends.choose.cache_clear()
    with pytest.raises(BackendUnavailable, match=message):
        backends.choose(backend, device)


@pytest.mark.parametrize(
    ("tokens", "outputs", "message"),
    [
        (torch.zeros(2, 3, 1), 1, r"tokens have shape \(2, 3, 1\), expected \(sequences, tokens\)"),
        (torch.zeros(2, 3), 4, "4 outputs asked of 3 tokens, expected 1 to 3"),
        (torch.zeros(2, 3, dtype=torch.float16), 1, "tokens are torch.float16, parameters torch.float64"),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused_with_both(tokens, outputs, message):
    _, weights = problem(1, 1, 1, 1, 1)
    tokens = tokens.double() if tokens.dtype == torch.float32 else tokens
    with pytest.raises(ValueError, match=message):
        slow_scan(tokens, weights, outputs)
