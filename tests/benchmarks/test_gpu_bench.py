"""The kernels whose speed is a GPU's floor do what they count: in Triton's interpreter where there is no GPU."""

import os

import pytest
import torch

if not torch.cuda.is_available():  # before Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_every_number_of_a_chain_goes_through_every_round(monkeypatch):
    from fsg.bench import gpu

    monkeypatch.setattr(gpu, "CHAINS", 64)
    halved = gpu.chain(gpu.fma_chain, 2, 3, DEVICE)
    assert halved.tolist() == [1 - 0.5**3] * 128
    powers = gpu.chain(gpu.exp2_chain, 2, 2, DEVICE)
    torch.testing.assert_close(powers, torch.full((128,), 2 ** -(2**-0.5), device=DEVICE))
