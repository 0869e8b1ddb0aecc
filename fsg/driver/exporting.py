"""A trial of a study as a folder of exported files: which one, and what its card says of it.

Proof: ``tests/cli/test_export_command.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsg.config import TrialConfig
from fsg.driver.trained import trained
from fsg.errors import StudyError
from fsg.files import user_path
from fsg.record.folder import StudyFolder, select_trial
from fsg.record.ledger import StudyState, TrialRecord
from fsg.record.ledger_header import installed_versions
from fsg.record.versions import numerics

if TYPE_CHECKING:
    from fsg.export.card import Origin
    from fsg.export.folder import Exported
    from fsg.train.loop import Trainer


def export_trial(folder: StudyFolder, selector: str, out: str | Path) -> Exported:
    """Export a finished trial of a study into the new folder ``out``; ``selector`` is ``best``, a key or the beginning of one.

    StudyError where the trial has not finished, and as ``fsg.export.folder.export_network``.
    """
    from fsg.export.folder import export_network

    state = folder.state()
    record = select_trial(state, selector, folder.spec().metric)
    if record.status != "finished":
        raise StudyError(f"trial {record.key} is {record.status}; only a finished trial has its network.")
    trainer = trained(folder, record)
    return export_network(trainer, _origin(folder, state, record, trainer), user_path(out))


def _origin(folder: StudyFolder, state: StudyState, record: TrialRecord, trainer: Trainer) -> Origin:
    from fsg.export.card import Origin
    from fsg.export.packages import versions

    spec, config, data = folder.spec(), trainer.config, trainer.data
    question = getattr(spec, "question", None)
    alike = [t for t in state.trials.values() if t.arm == record.arm and _but_seed(t) == _but_seed(record)]
    counted = [trial for trial in alike if trial.status == "finished"]
    values = [trial.final_value(spec.metric.name) for trial in counted]
    unit = spec.metric.unit and f" {spec.metric.unit}"
    then = " and then ".join(map(numerics, record.versions))
    now = f"{numerics(installed_versions())}, {', '.join(f'{name} {text}' for name, text in versions().items())}"
    facts = {
        "study": folder.path.name,
        **({"question": question} if question else {}),
        "arm": record.arm,
        "trial": record.key,
        "seed": str(record.seed),
        "seeds of this configuration": f"{', '.join(str(trial.seed) for trial in counted)}; mean {spec.metric.name} "
        f"{sum(values) / len(values):.4g}{unit}",
        "network": _parts(config),
        "training": f"{config.epochs} epochs, gradient {config.gradient.name}, optimizer {config.optimizer.name}, {config.dtype}"
        f", on {record.device or 'an unknown device'}",
        "data": f"{config.data.name}: {len(data.train):,} training, {len(data.validation):,} validation and {len(data.test):,} "
        f"test images of {'x'.join(map(str, data.image_shape))}, {data.classes} classes; digest {data.digest()}",
        "trained with": then or "unknown versions",
        "exported with": now,
    }
    metrics = {name: float(value) for name, value in (record.final or {}).items() if isinstance(value, int | float)}
    return Origin(f"{folder.path.name}, {record.arm}, seed {record.seed}", facts, metrics, metrics.get("test_accuracy"))


def _but_seed(record: TrialRecord) -> dict[str, object]:
    return record.last_config | {"seed": 0}


def _parts(config: TrialConfig) -> str:
    """Model and quantizer, with what of their options is not the default."""
    parts = []
    for section in (config.model, config.quantizer):
        options = section.model_dump(exclude_defaults=True)
        options.pop("name", None)
        said = ", ".join(f"{name} {value}" for name, value in options.items())
        parts.append(f"{section.name} ({said})" if said else section.name)
    return ", quantizer ".join(parts)
