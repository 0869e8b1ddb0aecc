"""``fsg ablate``, ``sweep``, ``resume``: a study begins, or goes on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.completion import complete_yaml
from fsg.cli.environment import environment_line
from fsg.cli.options import (
    DISTANT,
    WAIT,
    Accelerator,
    Accept,
    Address,
    AllowFailed,
    Asked,
    Cpus,
    DryRun,
    Exclude,
    Fuse,
    Gpus,
    Json,
    Memory,
    Notify,
    Plugin,
    Quiet,
    Set,
    Storage,
    Tracking,
    UpgradeStore,
    Wait,
    console_of,
    output_of,
    tracking_of,
)
from fsg.cli.running import run
from fsg.cli.studies import complete, no_study
from fsg.database import absolute_address
from fsg.driver.locate import begin_study, fetched, local, open_study, where_it_ran
from fsg.driver.session import driving
from fsg.errors import FsgError
from fsg.files import user_path

if TYPE_CHECKING:
    from fsg.report.progress import Output


def ablate(
    spec: Annotated[
        Path,
        typer.Argument(parser=user_path, help="YAML of an ablation, as in ablations/.", autocompletion=complete_yaml),
    ],
    set_: Set = [],
    plugin: Plugin = [],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = None,
    gpus_per_trial: Gpus = None,
    accelerator: Accelerator = None,
    memory_per_trial: Memory = None,
    fuse: Fuse = "auto",
    address: Address = None,
    wait_for_cluster: Wait = WAIT,
    exclude: Exclude = [],
    quiet: Quiet = False,
    json: Json = False,
    accept_changes: Accept = False,
    allow_failed: AllowFailed = False,
    notify: Notify = None,
) -> None:
    """Run an ablation: every arm with every seed, then the comparison table."""
    asked = Asked(cpus_per_trial, gpus_per_trial, accelerator, memory_per_trial, address, wait_for_cluster)
    _start(
        spec,
        "ablation",
        settings=set_,
        plugins=plugin,
        dry_run=dry_run,
        storage=storage,
        tracking_uri=tracking_uri,
        upgrade_store=upgrade_store,
        asked=asked,
        fuse=fuse,
        output=output_of(quiet, json),
        allow_failed=allow_failed,
        notify=notify,
        exclude=exclude,
        accept_changes=accept_changes,
    )


def sweep(
    spec: Annotated[
        Path,
        typer.Argument(parser=user_path, help="YAML of a sweep, as in search_spaces/.", autocompletion=complete_yaml),
    ],
    set_: Set = [],
    plugin: Plugin = [],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = None,
    gpus_per_trial: Gpus = None,
    accelerator: Accelerator = None,
    memory_per_trial: Memory = None,
    fuse: Fuse = "auto",
    address: Address = None,
    wait_for_cluster: Wait = WAIT,
    exclude: Exclude = [],
    quiet: Quiet = False,
    json: Json = False,
    allow_failed: AllowFailed = False,
    notify: Notify = None,
) -> None:
    """Search a space for the best configuration."""
    asked = Asked(cpus_per_trial, gpus_per_trial, accelerator, memory_per_trial, address, wait_for_cluster)
    _start(
        spec,
        "sweep",
        settings=set_,
        plugins=plugin,
        dry_run=dry_run,
        storage=storage,
        tracking_uri=tracking_uri,
        upgrade_store=upgrade_store,
        asked=asked,
        fuse=fuse,
        output=output_of(quiet, json),
        allow_failed=allow_failed,
        notify=notify,
        exclude=exclude,
    )


def resume(
    study: Annotated[
        str | None,
        typer.Argument(help="Name, path or URL of a study that was stopped.", autocompletion=complete),
    ] = None,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    cpus_per_trial: Cpus = None,
    gpus_per_trial: Gpus = None,
    accelerator: Accelerator = None,
    memory_per_trial: Memory = None,
    fuse: Fuse = "auto",
    address: Address = None,
    wait_for_cluster: Wait = WAIT,
    quiet: Quiet = False,
    json: Json = False,
    allow_failed: AllowFailed = False,
    notify: Notify = None,
) -> None:
    """Go on with a study where it was stopped."""
    if address is not None and address.startswith(DISTANT):
        raise FsgError(
            f"Send the study's file again: fsg ablate FILE --address {address} goes on where it was stopped."
        )
    if study is None:
        raise no_study("resume", storage)
    folder, output = open_study(study, storage), output_of(quiet, json)
    asked = Asked(cpus_per_trial, gpus_per_trial, accelerator, memory_per_trial, address, wait_for_cluster)
    from fsg.driver.fusing import limited
    from fsg.ray_engine.preflight import fit

    folder.refuse_newer()
    spec, given = folder.spec(), tracking_uri and absolute_address(tracking_uri)
    folder, resources = where_it_ran(folder), limited(asked.of(spec), fuse)
    uri = tracking_of(given, upgrade_store, folder.path)
    environment = environment_line(uri, tracking_uri is not None, address)  # before ours are in it
    with fit(spec, resources, folder.path.parent), driving(folder.path, console_of(hushed=output == "json")) as lock:
        _say_aside(output, environment)
        run(folder, spec, uri, resources, output, lock, allow_failed, notify)


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
    asked: Asked,
    fuse: str,
    output: Output,
    allow_failed: bool,
    notify: str | None,
    exclude: list[str],
    accept_changes: bool = False,
) -> None:
    from fsg.errors import StudyError
    from fsg.record.folder import StudyFolder
    from fsg.record.refined import with_norms
    from fsg.study.spec import AblationSpec, load_study

    spec, address = load_study(path, settings, plugins=plugins), asked.address
    resources = asked.of(spec)
    if spec.kind != kind:
        other = "sweep" if spec.kind == "sweep" else "ablate"
        raise StudyError(
            f"{path}: this is a study of kind {spec.kind}; run it with: fsg {other} {shlex.quote(str(path))}"
        )
    if address is not None and address.startswith(DISTANT) and not dry_run:
        from fsg.cli.jobs import submit

        share = asked.words()
        share += ["--fuse", fuse]
        share += [f"--{output}"] if output != "text" else []
        share += [word for setting in settings for word in ("--set", setting)]
        share += [word for plugin in plugins for word in ("--plugin", plugin)]
        share += ["--allow-failed"] if allow_failed else []
        share += ["--notify", notify] if notify is not None else []
        share += ["--upgrade-store"] if upgrade_store else []
        submit(
            "sweep" if kind == "sweep" else "ablate", path, spec.name, storage, tracking_uri, share, address, exclude
        )
        return
    spec = with_norms(spec, fetched(spec.name, storage))
    if isinstance(spec, AblationSpec):
        from fsg.driver.arm_costs import with_costs

        spec = with_costs(spec, storage, resources.cpus_per_trial, resources.gpus_per_trial)
    from fsg.driver.fusing import with_fusing

    fuse = "off" if dry_run and fuse == "auto" else fuse  # what is estimated are trials one by one
    spec, resources = with_fusing(spec, fuse, storage, resources, lambda sentence: _say_aside(output, sentence))
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
        _say_aside(output, environment)
        run(folder, spec, uri, resources, output, lock, allow_failed, notify)


def _say_aside(output: Output, line: str | None) -> None:
    """What is not about the study's result. Of the environment once the study may begin: a refusal is one message."""
    if line is not None and output == "text":
        console_of().print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
