"""fsg's own parts, registered: for each its section, its facts and the place of its builder. Costs pydantic, no torch.

One module a kind. A part of one's own comes in by the same door (``fsg.parts``, ``examples/``).
"""

from fsg.catalogue import data, gradients, models, optimizers, quantizers, rivals, schedules

__all__ = ["data", "gradients", "models", "optimizers", "quantizers", "rivals", "schedules"]
