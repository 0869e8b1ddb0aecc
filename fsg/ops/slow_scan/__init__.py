"""The slow-net's block: Mamba over short histories of many weights. See README.md for the derivation."""

from fsg.ops.slow_scan.reference import MambaWeights, mamba_block

__all__ = ["MambaWeights", "mamba_block"]
