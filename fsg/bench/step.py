"""A training step of every estimator against the straight-through estimator's, on digits_cnn at its default sizes."""

from __future__ import annotations

from collections.abc import Callable

from fsg.bench.measure import Measurement, at_most, interleaved, ratio
from fsg.config import parse_trial

ARMS = ["ste", "ema", "scalar", "multi_fc", "fc_grad", "lstm_fc", "fsg", "gate", "hand_gate"]
SHAPES = ["clipped", "bireal", "swish", "ede", "rbnn", "reste", "fda", "tanh", "arctan"]
FSG_LIMIT = 2.5
STEPS = 10


def run(rounds: int = 25) -> list[Measurement]:
    """Ratios of medians, one thread per trial as in a study."""
    import torch

    from fsg.data import load_data
    from fsg.train import Trainer

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        configs = {arm: parse_trial({"gradient": arm, "device": "cpu"}) for arm in ARMS}
        for shape in SHAPES:
            gradient = {"name": "surrogate", "shape": shape}
            configs[f"surrogate, {shape}"] = parse_trial({"gradient": gradient, "device": "cpu"})
        configs["fsg, slow_net fir"] = parse_trial({"gradient": {"name": "fsg", "slow_net": "fir"}, "device": "cpu"})
        data = load_data(configs["ste"].data)

        def steps(trainer: Trainer) -> Callable[[], object]:
            images = trainer.inputs(trainer.data.train.images[: trainer.config.data.batch_size])
            labels = trainer.data.train.labels[: trainer.config.data.batch_size]
            return lambda: [trainer.step(images, labels) for _ in range(STEPS)]

        times = interleaved({name: steps(Trainer(config, data)) for name, config in configs.items()}, rounds)
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
