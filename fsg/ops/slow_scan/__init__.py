"""The slow-net's block, Mamba over scalar tokens: one function, four twins. See README.md for the derivation.

reference.py defines it; cpu.py (numba), triton.py (CUDA) and mamba.py (mamba-ssm on CUDA) compute the same faster.
"""

from fsg.ops.slow_scan.backends import slow_scan, slow_scan_flat, slow_scans
from fsg.ops.slow_scan.reference import MambaWeights, mamba_block

__all__ = ["MambaWeights", "mamba_block", "slow_scan", "slow_scan_flat", "slow_scans"]
