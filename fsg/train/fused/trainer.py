"""An epoch of several trials, trained together where they stand at the same place.

    pack = FusedTrainer(configs)
    for results in pack: ...                      # an epoch of each: its result, or the TrialDiverged that ended it

Trials of a pack may be in different epochs and split the images otherwise, but for what the first two steps of a trial lack and
where their epochs have other lengths: those that begin are trained apart from the others for an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fsg.config import TrialConfig
from fsg.data import DataSplits
from fsg.errors import ConfigError, TrialDiverged, TrialPreempted
from fsg.fusing import shape_of
from fsg.train.fused.evaluate import scores_of
from fsg.train.fused.group import SETTLED, kind_of
from fsg.train.fused.step import FusedStep
from fsg.train.loop import EpochResult, Leaving, Save, Trainer
from fsg.train.memory import keep_memory
from fsg.train.tally import EpochTally

Outcome = EpochResult | TrialDiverged


class FusedTrainer:
    """Trains several trials side by side. Iterating runs the epochs that are left of each.

    ``trainers``: one for each configuration, to save and load as any other; one that is taken out of the list is trained no more.
    ConfigError for trials that do not fit together.
    """

    def __init__(self, configs: Sequence[TrialConfig], data: DataSplits | None = None) -> None:
        self.trainers = [Trainer(config, data) for config in configs]

    def __iter__(self) -> Iterator[dict[int, Outcome]]:
        while any(not trainer.finished for trainer in self.trainers):
            yield self.run_epoch()

    def run_epoch(
        self, saves: Sequence[Save | None] | None = None, leaving: Leaving | None = None
    ) -> dict[int, Outcome]:
        """One epoch of each that has one left, by its place in ``trainers``; those that diverge are to be taken out."""
        left = [k for k, trainer in enumerate(self.trainers) if not trainer.finished]
        asked = [saves[k] for k in left] if saves is not None else None
        outcomes = run_epoch([self.trainers[k] for k in left], asked, leaving)
        return dict(zip(left, outcomes, strict=True))


def run_epoch(
    trainers: Sequence[Trainer], saves: Sequence[Save | None] | None = None, leaving: Leaving | None = None
) -> list[Outcome]:
    """Train an epoch of each, or what is left of it, and evaluate: its result, or why it diverged, in order.

    ``saves``: each is given its trial's state after every ``checkpoint_every_steps`` steps. ``leaving`` is asked after every
    step: if it says so, all states are saved and TrialPreempted raised. ConfigError for trials that do not fit together.
    """
    keep_memory()
    refuse_misfits([trainer.config for trainer in trainers])
    saves = saves if saves is not None else [None] * len(trainers)
    outcomes: dict[int, Outcome] = {}
    for group in _same_place(trainers):
        found = _epoch([trainers[k] for k in group], [saves[k] for k in group], leaving)
        outcomes |= dict(zip(group, found, strict=True))
    return [outcomes[k] for k in range(len(trainers))]


def refuse_misfits(configs: Sequence[TrialConfig]) -> None:
    """ConfigError where trials cannot be trained as one program."""
    if len({shape_of(config) for config in configs}) > 1:
        raise ConfigError("trials can be fused only if their networks, data, batches and optimizers have equal shapes.")


def place_of(trainer: Trainer) -> tuple[int, int, int]:
    """Images of an epoch, steps done of the one under way, and in all, of the first ones. Equal: they can be trained together."""
    return _images_of_epoch(trainer), trainer.steps_done, min(trainer.steps_in_all, SETTLED)


def _images_of_epoch(trainer: Trainer) -> int:
    return min(len(trainer.data.train), trainer.steps_per_epoch * trainer.config.data.batch_size)


def _same_place(trainers: Sequence[Trainer]) -> list[list[int]]:
    """Who can be trained together, those with equal estimators side by side."""
    places: dict[tuple[int, int, int], list[int]] = {}
    for k in sorted(range(len(trainers)), key=lambda k: kind_of(trainers[k])):
        places.setdefault(place_of(trainers[k]), []).append(k)
    return list(places.values())


def _epoch(trainers: list[Trainer], saves: Sequence[Save | None], leaving: Leaving | None) -> list[Outcome]:
    """Of trials that stand at the same place."""
    for trainer in trainers:
        trainer.begin_epoch()
    count = len(trainers)
    slots = trainers if count > 1 else [*trainers, *trainers]
    step = FusedStep(slots)
    step.gather()
    tally = EpochTally.stacked([trainer.tally for trainer in slots])
    first, config = trainers[0], trainers[0].config
    batch, every, per_epoch = config.data.batch_size, config.checkpoint_every_steps, first.steps_per_epoch
    orders = torch.stack([trainer.permutation[: _images_of_epoch(trainer)] for trainer in slots]).to(first.device)

    def give() -> None:
        tally.give([trainer.tally for trainer in trainers], step.seconds()[:count])
        step.scatter(count)

    tally.start()
    while tally.steps < per_epoch:
        index = orders[:, tally.steps * batch : (tally.steps + 1) * batch]
        progress = [trainer.progress(tally.steps) for trainer in slots]
        result = step(*batch_of(trainers, index), progress)
        tally.add(result)
        if first.device.type == "cpu" and not torch.isfinite(result.loss).any():
            break  # nobody is left
        asked = leaving is not None and leaving()
        due = bool(every) and tally.steps % every == 0 and tally.steps < per_epoch
        if any(saves) and (asked or due):
            give()
            for trainer, save in zip(trainers, saves, strict=True):
                if save is not None:
                    save(trainer.state_dict())
            tally.start()
        if asked:
            raise TrialPreempted(f"asked to leave in epoch {first.epoch + 1}, after step {tally.steps}.")
    tally.good_steps.tolist()  # waits for a GPU, whose steps are timed
    tally.stop()
    diagnosed = step.diagnose()
    scores = scores_of(step, trainers)
    give()
    outcomes: list[Outcome] = []
    for k, trainer in enumerate(trainers):
        try:
            outcomes.append(trainer.end_epoch(diagnosed[k], scores[k] if scores is not None else None))
        except TrialDiverged as error:
            outcomes.append(error)
    return outcomes


def batch_of(trainers: Sequence[Trainer], index: Tensor) -> tuple[Tensor, Tensor]:
    """The batch of each slot, (K, B) numbers of its training images: inputs (B, K C, H, W) and labels (K, B).

    Of one trainer with two slots, both are of the same images.
    """
    inputs, labels = [], []
    for trainer, numbers in zip(trainers, index, strict=False):
        images = trainer.augmented_images(trainer.data.train.images[numbers])
        inputs.append(trainer.inputs(images))
        labels.append(trainer.data.train.labels[numbers])
    times = len(index) // len(trainers)
    return torch.cat(inputs * times, dim=1), torch.stack(labels * times)
