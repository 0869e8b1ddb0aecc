"""HGS, Historical Gradient Storage: the last L gradients of every weight, oldest first."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GradientHistory(nn.Module):
    """A window of ``length`` optimizer steps over ``weights`` gradients; part of a checkpoint."""

    window: Tensor

    def __init__(self, length: int, weights: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("window", torch.zeros(0, weights))

    def append(self, grad: Tensor) -> Tensor:
        """Store (N,) and return the window, (min(steps so far, length), N), newest last."""
        older = self.window[max(0, len(self.window) - self.length + 1) :]
        window = torch.cat([older, grad[None]])
        if len(window) == len(self.window):
            self.window.copy_(window)  # in place once it is full: a CUDA graph reads it where it was
        else:
            self.window = window
        return self.window

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        # The window grows over the first steps, so its stored size is taken as it is.
        stored = state_dict[f"{prefix}window"]
        self.window = stored.to(self.window).clone()
        super()._load_from_state_dict(state_dict, prefix, *args)
