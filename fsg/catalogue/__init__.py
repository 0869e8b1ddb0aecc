"""fsg's own parts, registered: for each its section, its facts and the place of its builder. Costs pydantic, no torch.

One module a kind. A part of one's own comes in by the same door (``fsg.parts``, ``examples/``).
"""

from fsg.catalogue import (
    backends,
    binarizers,
    data,
    gradients,
    models,
    optimizers,
    quantizers,
    rivals,
    samplers,
    schedulers,
    schedules,
    surrogates,
)

__all__ = [
    "backends",
    "binarizers",
    "data",
    "gradients",
    "models",
    "optimizers",
    "quantizers",
    "rivals",
    "samplers",
    "schedulers",
    "schedules",
    "surrogates",
]
