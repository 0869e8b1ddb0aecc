"""A training step of every arm against the straight-through estimator's, on digits_cnn at its default sizes.

Arms: every estimator, curve (of weights and of sign activations), quantizer, and optimizer that steps otherwise than by torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from fsg.bench.measure import Measurement, at_most, interleaved, ratio
from fsg.config import parse_trial
from fsg.parts import find_part, names

SHAPES = ["clipped", "bireal", "swish", "ede", "rbnn", "reste", "fda", "tanh", "arctan"]
BY_CURVATURE = ["adahessian", "sophiah"]  # of pytorch-optimizer
FSG_LIMIT = 2.5
STEPS = 10  # in a row; sophiah looks at curvature in one of ten


def arms() -> dict[str, dict[str, Any]]:
    """What each arm changes in the defaults, with ste for its estimator where it is not the estimator."""
    found: dict[str, dict[str, Any]] = {name: {"gradient": name} for name in _own("gradient") if name != "surrogate"}
    for shape in SHAPES:
        found[f"surrogate, {shape}"] = {"gradient": {"name": "surrogate", "shape": shape}}
    found["fsg, slow_net fir"] = {"gradient": {"name": "fsg", "slow_net": "fir"}}
    for shape in SHAPES:
        found[f"sign activations, {shape}"] = {
            "model": {"name": "digits_cnn", "activations": {"name": "sign", "surrogate": shape}}
        }
    for name in _own("quantizer"):
        found[f"quantizer {name}"] = {"quantizer": name}
    for name in [*_own("optimizer"), *(BY_CURVATURE if find_spec("pytorch_optimizer") else [])]:
        found[f"optimizer {name}"] = {"optimizer": name, "quantizer": "bwn" if name == "bop" else "dorefa"}
    return {arm: {"gradient": "ste", **changes, "device": "cpu"} for arm, changes in found.items()}


def _own(kind: str) -> list[str]:
    return [name for name in names(kind) if find_part(kind, name).source is None]


def run(rounds: int = 15) -> list[Measurement]:
    """Medians of ratios of processor time, one thread per trial as in a study."""
    import torch

    from fsg.data import load_data
    from fsg.train import Trainer

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        configs = {arm: parse_trial(changes) for arm, changes in arms().items()}
        data = load_data(configs["ste"].data)

        def steps(trainer: Trainer) -> Callable[[], object]:
            images = trainer.inputs(trainer.data.train.images[: trainer.config.data.batch_size])
            labels = trainer.data.train.labels[: trainer.config.data.batch_size]
            return lambda: [trainer.step(images, labels) for _ in range(STEPS)]

        subjects = {name: steps(Trainer(config, data)) for name, config in configs.items()}
        times = interleaved(subjects, rounds, time.process_time)
    finally:
        torch.set_num_threads(before)
    found = []
    for name in configs:
        value, spread = ratio(times[name], times["ste"])
        case = f"{name} / ste, digits_cnn, batch 64, 1 thread"
        if name == "fsg":
            found.append(at_most("step", case, value, "x", FSG_LIMIT, spread))
        elif name != "ste":
            found.append(Measurement("step", case, value, "x", spread=spread))
    if torch.cuda.is_available():
        from fsg.bench.gpu import step_rows

        found += step_rows(rounds)
    return found
