"""``fsg ablate``, ``sweep``, ``resume``: a study begins, or goes on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.driving import driving
from fsg.cli.environment import environment_line
from fsg.cli.options import (
    DISTANT,
    Accept,
    Address,
    AllowFailed,
    Cpus,
    DryRun,
    Gpus,
    Json,
    Plugin,
    Quiet,
    Set,
    Storage,
    Tracking,
    UpgradeStore,
    console_of,
    output_of,
    resources_of,
    tracking_of,
)
from fsg.cli.places import begin_study, fetched, local, open_study
from fsg.cli.running import run
from fsg.cli.studies import complete, no_study
from fsg.database import absolute_address
from fsg.errors import FsgError
from fsg.files import user_path

if TYPE_CHECKING:
    from fsg.config import TrialConfig
    from fsg.execution.engine import Resources
    from fsg.report.progress import Output
    from fsg.study.folder import StudyFolder
    from fsg.study.spec import AblationSpec


def ablate(
    spec: Annotated[Path, typer.Argument(parser=user_path, help="YAML of an ablation, as in ablations/.")],
    set_: Set = [],
    plugin: Plugin = [],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
    accept_changes: Accept = False,
    allow_failed: AllowFailed = False,
) -> None:
    """Run an ablation: every arm with every seed, then the comparison table."""
    output, resources = output_of(quiet, json), resources_of(cpus_per_trial, gpus_per_trial, address)
    _start(
        spec,
        "ablation",
        settings=set_,
        plugins=plugin,
        dry_run=dry_run,
        storage=storage,
        tracking_uri=tracking_uri,
        upgrade_store=upgrade_store,
        resources=resources,
        output=output,
        allow_failed=allow_failed,
        accept_changes=accept_changes,
    )


def sweep(
    spec: Annotated[Path, typer.Argument(parser=user_path, help="YAML of a sweep, as in search_spaces/.")],
    set_: Set = [],
    plugin: Plugin = [],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
    allow_failed: AllowFailed = False,
) -> None:
    """Search a space for the best configuration."""
    output, resources = output_of(quiet, json), resources_of(cpus_per_trial, gpus_per_trial, address)
    _start(
        spec,
        "sweep",
        settings=set_,
        plugins=plugin,
        dry_run=dry_run,
        storage=storage,
        tracking_uri=tracking_uri,
        upgrade_store=upgrade_store,
        resources=resources,
        output=output,
        allow_failed=allow_failed,
    )


def resume(
    study: Annotated[
        str | None,
        typer.Argument(help="Name, path or URL of a study that was stopped.", autocompletion=complete),
    ] = None,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
    allow_failed: AllowFailed = False,
) -> None:
    """Go on with a study where it was stopped."""
    if address is not None and address.startswith(DISTANT):
        raise FsgError(
            f"Send the study's file again: fsg ablate FILE --address {address} goes on where it was stopped."
        )
    if study is None:
        raise no_study("resume", storage)
    folder, output = open_study(study, storage), output_of(quiet, json)
    resources = resources_of(cpus_per_trial, gpus_per_trial, address)
    from fsg.ray_engine.preflight import fit

    folder.refuse_newer()
    spec, given = folder.spec(), tracking_uri and absolute_address(tracking_uri)
    folder = _where_it_ran(folder)
    uri = tracking_of(given, upgrade_store, folder.path)
    environment = environment_line(uri, tracking_uri is not None, address)  # before ours are in it
    with fit(spec, resources, folder.path.parent), driving(folder.path, console_of(hushed=output == "json")) as lock:
        _say_environment(output, environment)
        run(folder, spec, uri, resources, output, lock, allow_failed)


def _where_it_ran(folder: StudyFolder) -> StudyFolder:
    """The study, with the folder that it last ran in as working folder: relative paths in its file are seen from there."""
    from fsg.study.folder import StudyFolder
    from fsg.study.surroundings import surroundings_of

    working = surroundings_of(folder.path).working_folder
    if working is None or working == Path.cwd():
        return folder
    place = folder.path.resolve()
    os.chdir(working)
    return StudyFolder(place)  # whole, so that what is said of it can be typed in the folder that the user is in


def _start(
    path: Path,
    kind: str,
    *,
    settings: list[str],
    plugins: list[str],
    dry_run: bool,
    storage: str,
    tracking_uri: str | None,
    upgrade_store: bool,
    resources: Resources,
    output: Output,
    allow_failed: bool,
    accept_changes: bool = False,
) -> None:
    from fsg.errors import StudyError
    from fsg.study.folder import StudyFolder
    from fsg.study.spec import AblationSpec, load_study

    cpus, gpus, address = resources.cpus_per_trial, resources.gpus_per_trial, resources.address
    spec = load_study(path, settings, plugins=plugins)
    if spec.kind != kind:
        other = "sweep" if spec.kind == "sweep" else "ablate"
        raise StudyError(
            f"{path}: this is a study of kind {spec.kind}; run it with: fsg {other} {shlex.quote(str(path))}"
        )
    if address is not None and address.startswith(DISTANT) and not dry_run:
        from fsg.cli.jobs import submit

        share = ["--cpus-per-trial", f"{cpus:g}", "--gpus-per-trial", f"{gpus:g}"]
        share += [f"--{output}"] if output != "text" else []
        share += [word for setting in settings for word in ("--set", setting)]
        share += [word for plugin in plugins for word in ("--plugin", plugin)]
        share += ["--allow-failed"] if allow_failed else []
        share += ["--upgrade-store"] if upgrade_store else []
        submit("sweep" if kind == "sweep" else "ablate", path, spec.name, storage, tracking_uri, share, address)
        return
    if isinstance(spec, AblationSpec):
        spec = _budgeted(spec, storage, cpus, gpus)
    if dry_run:
        from fsg.report.dry_run import describe_plan

        console_of().print(describe_plan(spec, resources))
        return
    uri = tracking_of(tracking_uri, upgrade_store, local(storage) / spec.name)
    from fsg.ray_engine.preflight import fit

    place = local(storage)
    StudyFolder(place / spec.name).refuse_newer()
    environment = environment_line(uri, tracking_uri is not None, address)  # before ours are in it
    with fit(spec, resources, place), driving(place / spec.name, console_of(hushed=output == "json")) as lock:
        folder = begin_study(spec, storage, accept_changes)
        spec = spec.in_format(folder.spec().format)
        _say_environment(output, environment)
        run(folder, spec, uri, resources, output, lock, allow_failed)


def _say_environment(output: Output, line: str | None) -> None:
    """Once the study may begin: a refusal is one message."""
    if line is not None and output == "text":
        console_of().print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _budgeted(spec: AblationSpec, storage: str, cpus: float, gpus: float) -> AblationSpec:
    """The study with the costs that its epochs follow from: those it began with, or measured now."""
    from fsg.study.design import arms_of
    from fsg.study.fairness import Fairness, measured
    from fsg.study.folder import StudyFolder
    from fsg.study.spec import AblationSpec

    if not spec.fairness.by_cost:
        return spec
    folder = StudyFolder(fetched(spec.name, storage) / spec.name)
    began = folder.spec() if folder.spec_path.is_file() else None
    known = began.fairness if isinstance(began, AblationSpec) else Fairness()

    def measure(arms: Mapping[str, TrialConfig]) -> Mapping[str, float]:
        import torch

        from fsg.train.cost import epoch_flops, epoch_seconds

        torch.set_num_threads(max(1, int(cpus)))  # as a trial's worker does
        if spec.fairness.equal == "flops":
            return epoch_flops(arms)
        device = "auto" if gpus else "cpu"
        return epoch_seconds({arm: config.model_copy(update={"device": device}) for arm, config in arms.items()})

    unmeasured = spec.model_copy(update={"fairness": Fairness()})
    fairness = measured(spec.fairness, arms_of(unmeasured), known, measure)
    return spec.model_copy(update={"fairness": fairness})
