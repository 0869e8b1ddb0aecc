"""What a Mamba block's forward and backward pass takes at least, counted from its formulas (README.md).

torch counts no operation of a kernel it does not know, so a budget in floating-point operations needs this.
Proof: ``tests/train/test_cost.py``, ``tests/ops``.
"""

from __future__ import annotations


def operations(tokens: int, recurrent: int, outputs: int, d_inner: int, d_state: int, d_conv: int) -> dict[str, float]:
    """Exponentials and logarithms (``exp``), divisions (``divide``) and multiply-adds, forward and backward together.

    ``tokens``: all of them; ``recurrent``: those whose state has to travel (in the unrolled form, which has one output
    a sequence, all but the last of each); ``outputs``: the answers that are read.
    """
    d, s, k = d_inner, d_state, d_conv
    project = tokens * d * (1 + s) + outputs * d * s
    return {
        "exp": 2.0 * (recurrent * d * s + 3 * tokens * d + outputs * d),  # decays; SiLU, softplus and its log; gate
        "divide": 3.0 * tokens * d + 2 * outputs * d,  # SiLU and gate both ways, softplus' slope backward
        "multiply-add": 6.0 * recurrent * d * s + 4 * project + 4 * k * tokens * d,
    }


def flops(counts: dict[str, float]) -> float:
    """As floating-point operations: a multiply-add is two, anything else one."""
    return counts["exp"] + counts["divide"] + 2 * counts["multiply-add"]
