"""A finished trial as it stood at its end, from its last checkpoint; and what is seen around its network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.errors import CheckpointCorrupt
from fsg.record.folder import BEST, StudyFolder, select_trial
from fsg.record.ledger import TrialRecord

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fsg.train.loop import Trainer


def trained(folder: StudyFolder, record: TrialRecord) -> Trainer:
    """The trainer of a finished trial, on the CPU. CheckpointCorrupt where its checkpoint is not there."""
    from fsg.config import parse_trial
    from fsg.train.checkpoint import CheckpointStore
    from fsg.train.loop import Trainer

    config = parse_trial(record.last_config, format=folder.spec().format).model_copy(update={"device": "cpu"})
    trainer = Trainer(config)
    state = CheckpointStore(folder.checkpoints / record.key / "last.pt").load()
    if state is None:
        raise CheckpointCorrupt(f"{folder.checkpoints / record.key}: the trial's checkpoint is not there.")
    trainer.load_state_dict(state)
    return trainer


def best_network(folder: StudyFolder) -> tuple[TrialRecord, nn.Module, Tensor]:
    """The best trial, its binary network as it was tested, and four test images as an example of what it takes.

    StudyError where none has finished.
    """
    from fsg.train.inference import inference_network

    record = select_trial(folder.state(), BEST, folder.spec().metric)
    trainer = trained(folder, record)
    return record, inference_network(trainer), trainer.data.test.images[:4]


def landscapes(folder: StudyFolder) -> Iterator[Path]:
    """Draw the loss around the first finished trial of each arm that looks at its Hessian (``evaluate.curvature``)."""
    first: dict[str, TrialRecord] = {}
    for record in folder.state().trials.values():
        if record.status == "finished" and (record.last_config.get("evaluate") or {}).get("curvature"):
            first.setdefault(record.arm, record)
    for arm, record in first.items():
        from fsg.report.figures import save
        from fsg.report.landscape import draw_landscape
        from fsg.train.landscape import landscape

        figure = draw_landscape(landscape(trained(folder, record)), arm, f"{folder.path.name}, seed {record.seed}")
        yield save(figure, folder.reports / f"landscape_{arm.replace('/', '_')}.svg")
