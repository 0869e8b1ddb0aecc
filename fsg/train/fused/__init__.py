"""Many trials trained as one program: K networks side by side in the channels of one, K estimators in the rows of one.

Between two epochs each trial is a ``Trainer`` as any other, with its own state and checkpoint. An epoch stacks what the trials
of a pack have, trains them together, and gives each its own back: a pack may be another at every epoch. Sums are rounded
otherwise than by a trial's own program, so ``fused`` is part of a trial's identity. Within the fused program a trial has the same
bits whatever its pack and its place there: no operation rounds a row by what stands beside it, and one alone is trained as two.
Proof: ``tests/train/test_fused.py``.
"""

from fsg.train.fused.trainer import FusedTrainer, run_epoch

__all__ = ["FusedTrainer", "run_epoch"]
