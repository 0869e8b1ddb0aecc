"""A step of K trials as one program against K steps apart: digits_cnn on the digits, batch 64, one thread, processor time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fsg.bench.measure import Measurement, at_most, interleaved, ratio
from fsg.config import TrialConfig, parse_trial

if TYPE_CHECKING:
    from fsg.train import Trainer
    from fsg.train.fused.step import FusedStep

MEMBERS = 12
BATCH = 64
WARM_UP = 8  # steps until the history is full
LIMITS = {"ste": 0.4, "fsg": 0.5}  # of the steps apart


class Pair(NamedTuple):
    """The same trials twice: ``trainers`` apart, ``pack`` in the order in which ``program`` trains them; a step of either."""

    trainers: list[Trainer]
    pack: list[Trainer]
    program: FusedStep
    apart: Callable[[], object]
    fused: Callable[[], object]


def run(rounds: int = 11) -> list[Measurement]:
    """Twelve seeds of an estimator, for each that has a target."""
    import torch

    from fsg.train.memory import keep_memory

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    found = []
    try:
        for name, limit in LIMITS.items():
            pair = pair_of([parse_trial({"gradient": name, "seed": seed, "device": "cpu"}) for seed in range(MEMBERS)])
            for _ in range(WARM_UP):
                pair.apart()
                pair.fused()
            steps = {"apart": pair.apart, "fused": pair.fused}
            times = interleaved(steps, rounds, time.thread_time)
            value, spread = ratio(times["fused"], times["apart"])
            case = f"{MEMBERS} seeds of {name} / as many steps apart"
            found.append(at_most("fused", case, value, "x", limit, spread))
    finally:
        torch.set_num_threads(before)
    return found


def pair_of(configs: Sequence[TrialConfig]) -> Pair:
    """Trials on the processor, made ready to step."""
    import torch

    from fsg.data import load_data
    from fsg.train import Trainer
    from fsg.train.fused.group import kind_of
    from fsg.train.fused.step import FusedStep
    from fsg.train.fused.trainer import batch_of

    def made(fused: bool) -> list[Trainer]:
        return [Trainer(config.model_copy(update={"fused": fused}), load_data(config.data)) for config in configs]

    trainers, pack = made(False), sorted(made(True), key=kind_of)
    images, labels = trainers[0].data.train.images[:BATCH], trainers[0].data.train.labels[:BATCH]
    inputs = trainers[0].inputs(images)
    program = FusedStep(pack)
    program.gather()
    side_by_side, all_labels = batch_of(pack, torch.arange(BATCH).expand(len(pack), -1))

    def apart() -> None:
        for trainer in trainers:
            trainer.step(inputs, labels)

    return Pair(trainers, pack, program, apart, lambda: program(side_by_side, all_labels, [0.0] * len(pack)))
