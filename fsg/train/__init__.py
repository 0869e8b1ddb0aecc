"""Training one trial: a step, an epoch, an evaluation, a checkpoint. Needs torch, numpy and pydantic alone."""

from fsg.train.loop import EpochResult, Trainer

__all__ = ["EpochResult", "Trainer"]
