"""The slow-net's block by mamba-ssm's own kernels, on CUDA: the yardstick of triton.py.

Its fast path takes the parameters of ``mamba_ssm.Mamba`` by name; ours have the same shapes. It computes the outputs of all
tokens, of which the last are kept; causal-conv1d supports 2 to 4 taps, the states at most 256. Proof: tests marked gpu.
"""

from __future__ import annotations

from torch import Tensor

from fsg.errors import BackendUnavailable
from fsg.ops.slow_scan.reference import MambaWeights


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int) -> Tensor:
    """(B, L) scalar tokens on CUDA -> (B, outputs). BackendUnavailable for sizes that mamba-ssm does not take."""
    from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn

    w, taps, states = weights, weights.conv_weight.shape[-1], weights.A_log.shape[1]
    if not 2 <= taps <= 4 or states > 256:
        raise BackendUnavailable(
            f"slow_scan: mamba_ssm takes d_conv 2 to 4 and d_state up to 256, not {taps} and {states}. Use triton or auto."
        )
    xz = (w.in_proj @ tokens_BL[:, None, :]).contiguous()  # (B, 2D, L)
    y = mamba_inner_fn(
        xz, w.conv_weight, w.conv_bias, w.x_proj, w.dt_weight, w.out_proj, None, -w.A_log.exp(),
        D=w.D, delta_bias=w.dt_bias, delta_softplus=True,
    )  # fmt: skip
    return y[:, -outputs:, 0]
