"""``fsg train``: one trial, without a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.options import FILE, FOLDER, Plugin
from fsg.cli.studies import complete_reference
from fsg.errors import ConfigError
from fsg.files import user_path

if TYPE_CHECKING:
    from fsg.config import TrialConfig
    from fsg.train import EpochResult

COLUMNS = {
    "epoch": "d",
    "train_loss": ".4f",
    "train_accuracy": ".2f",
    "val_accuracy": ".2f",
    "val_accuracy_ema": ".2f",
    "flip_ratio": ".5f",
    "gain": ".3f",
    "cosine": ".4f",
    "step_ms": ".1f",
}


def train(
    config: Annotated[
        Path | None,
        typer.Argument(parser=user_path, help="YAML of one trial; all defaults if left out."),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", help="Override one key, as in gradient.lre=false; repeatable.")
    ] = [],
    plugin: Plugin = [],
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            autocompletion=complete_reference,
            help="Take the configuration of a trial: STUDY#best or STUDY#KEY.",
        ),
    ] = None,
    storage: Annotated[Path, typer.Option(**FOLDER, help="Where studies live, for --from.")] = Path("studies"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            **FILE,
            help="Write a checkpoint here after each epoch, and go on from it if it exists.",
        ),
    ] = None,
) -> None:
    """Train one trial and print one line per epoch."""
    trial = _trial(config, set_, plugin, from_, storage)
    if checkpoint is not None and checkpoint.is_dir():
        raise ConfigError(
            f"--checkpoint {checkpoint} is a folder; name a file in it, such as {checkpoint / 'last.pt'}."
        )

    from fsg.train import Trainer
    from fsg.train.checkpoint import CheckpointStore

    trainer = Trainer(trial)
    store = CheckpointStore(checkpoint) if checkpoint else None
    state = store.load() if store else None
    if state is not None:
        trainer.load_state_dict(state)
        typer.echo(f"Going on from epoch {trainer.epoch} of {checkpoint}.")
    typer.echo(
        f"{trial.model.name} on {trial.data.name}, quantizer {trial.quantizer.name}, gradient {trial.gradient.name}, "
        f"optimizer {trial.optimizer.name}, seed {trial.seed}, {trainer.device}, "
        f"{trainer.spans.total:,} quantised weights in {len(trainer.spans)} layers"
    )
    typer.echo("  ".join(f"{name:>{_width(name)}}" for name in COLUMNS))
    while not trainer.finished:
        typer.echo(_row(trainer.run_epoch(store.save if store else None)))
        if store:
            store.save(trainer.state_dict())
    last = trainer.last_result
    assert last is not None
    typer.echo(
        f"Test accuracy {last.metrics['test_accuracy']:.2f} %, "
        f"mean of the last {len(trainer.test_scores)} epochs {last.metrics['test_accuracy_last10']:.2f} %"
        + (
            f", with averaged weights {last.metrics['test_accuracy_ema']:.2f} %."
            if "test_accuracy_ema" in last.metrics
            else "."
        )
    )
    if moved := _moved(last):
        typer.echo(f"The direction of the next step would change by {', '.join(moved)}.")


def _moved(result: EpochResult) -> list[str]:
    """By how much the direction changes without each component of the estimator."""
    from fsg.metrics import MOVED_BY

    shares = {name.removeprefix(MOVED_BY): v for name, v in result.metrics.items() if name.startswith(MOVED_BY)}
    return [f"{share:.2%} without {part}" for part, share in shares.items()]


def _trial(
    config: Path | None, settings: list[str], plugins: list[str], reference: str | None, storage: Path
) -> TrialConfig:
    from fsg.config import load_trial, overlaid, parse_trial
    from fsg.yaml_source import YamlSource

    if reference is None:
        return load_trial(config, settings, plugins)
    if config is not None:
        raise ConfigError(f"both {config} and --from {reference} name a configuration; give one of them.")
    from fsg.record.folder import find_study, parse_reference, select_trial

    name, selector = parse_reference(reference)
    folder = find_study(name, storage)
    record = select_trial(folder.state(), selector or "best", folder.spec().metric)
    if record.exploits:
        changes = ", ".join(str(exploit.epoch) for exploit in record.exploits)
        typer.echo(
            f"{name}#{record.key} is a member of a population: its configuration and weights changed after epoch {changes}. "
            f"This trains its last configuration from the start; the schedule is in: fsg compare {folder.called}"
        )
    known = YamlSource(folder.ledger_path, {}, {(): reference})
    return parse_trial(*overlaid(record.last_config, known, settings))


def _width(name: str) -> int:
    return max(len(name), 8)


def _row(result: EpochResult) -> str:
    cells = []
    for name, form in COLUMNS.items():
        value = result.metrics.get(name)
        cells.append(f"{format(value, form) if value is not None else '-':>{_width(name)}}")
    return "  ".join(cells)
