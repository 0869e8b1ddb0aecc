"""The block's parameters as the kernels read them: one vector, channel by channel, with what does not depend on a token
computed once a call. Plain autograd leads its gradient back to the parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from fsg.ops.slow_scan.reference import MambaWeights

LOG2E = math.log2(math.e)
LN2 = math.log(2.0)


class Sizes(NamedTuple):
    """L tokens, K taps, D channels, S states."""

    length: int
    taps: int
    channels: int
    states: int

    @property
    def rows(self) -> int:
        """Outputs of x_proj: the step size's, B's and C's."""
        return 1 + 2 * self.states

    @property
    def parameters(self) -> int:
        """Numbers in a packed block."""
        return self.channels * (self.taps + self.rows + self.states + 6)


def sizes_of(weights: MambaWeights, length: int) -> Sizes:
    """The sizes of a block over L tokens."""
    channels, states = weights.A_log.shape[-2:]
    return Sizes(length, weights.conv_weight.shape[-1], channels, states)


def pack(weights: MambaWeights) -> Tensor:
    """The parameters as one vector, in the form and order the kernels read; differentiable. Of stacked blocks a row each.

    Per channel: taps x in_proj (K), conv bias, x_proj (1 + 2S), dt weight, dt bias, A / ln 2 (S), D, z's in_proj, out_proj.
    """
    channels = weights.A_log.shape[-2]
    x, z = weights.in_proj[..., :channels, :], weights.in_proj[..., channels:, :]
    columns = [
        weights.conv_weight[..., 0, :] * x,
        weights.conv_bias[..., None],
        weights.x_proj.mT,
        weights.dt_weight,
        weights.dt_bias[..., None],
        weights.A_log.exp() * -LOG2E,
        weights.D[..., None],
        z,
        weights.out_proj.mT,
    ]
    return torch.cat(columns, dim=-1).flatten(-2)
