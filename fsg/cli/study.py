"""``fsg ablate``, ``sweep``, ``resume``, ``compare``, ``ui``: studies from the file to the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsg.cli.driving import driving
from fsg.cli.places import STUDIES, begin_study, copied, fetched, local, open_study
from fsg.errors import FsgError
from fsg.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

    from fsg.config import TrialConfig
    from fsg.report.progress import Output
    from fsg.study.folder import StudyFolder
    from fsg.study.lock import StudyLock
    from fsg.study.mirror import FollowingMirror
    from fsg.study.seeds import Enough
    from fsg.study.spec import AblationSpec, SweepSpec
    from fsg.tracking import Exporter
    from fsg.tracking.server import TrackingServer
    from fsg.tune.runner import Resources

DEFAULT_TRACKING = "sqlite:///mlflow.db"

Storage = Annotated[
    str,
    typer.Option(help="Folder that holds the studies; or s3://bucket/folder: work in ./studies, with a copy there."),
]
Tracking = Annotated[
    str | None, typer.Option(help=f"MLflow store or server. Default: $MLFLOW_TRACKING_URI, else {DEFAULT_TRACKING}.")
]
Cpus = Annotated[float, typer.Option(min=0.01, help="CPU cores per trial; fractions allowed.")]
Gpus = Annotated[
    str,
    typer.Option(
        help="GPUs per trial; fractions allowed. auto: as many trials on a GPU as their measured memory allows."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster: auto or HOST:PORT joins it from here; job:http://HOST:8265 or ray://HOST sends the "
        "working tree there and follows it."
    ),
]
DISTANT = ("job:", "ray://")
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-changes", help="Go on though the file changed: trials that it no longer names are set aside."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print arms, trials and an estimate of time; run nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only the report, once all trials have ended.")]
Json = Annotated[
    bool, typer.Option("--json", help="Nothing but one JSON object a line: each start and end of a trial.")
]
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


def ablate(
    spec: Annotated[Path, typer.Argument(help="YAML of an ablation, as in ablations/.")],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
    accept_changes: Accept = False,
) -> None:
    """Run an ablation: every arm with every seed, then the comparison table."""
    output, resources = _output(quiet, json), _resources(cpus_per_trial, gpus_per_trial, address)
    _start(spec, "ablation", dry_run, storage, tracking_uri, resources, output, accept_changes)


def sweep(
    spec: Annotated[Path, typer.Argument(help="YAML of a sweep, as in search_spaces/.")],
    dry_run: DryRun = False,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search a space for the best configuration."""
    output, resources = _output(quiet, json), _resources(cpus_per_trial, gpus_per_trial, address)
    _start(spec, "sweep", dry_run, storage, tracking_uri, resources, output)


def resume(
    study: Annotated[str, typer.Argument(help="Name, path or URL of a study that was stopped.")],
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    cpus_per_trial: Cpus = 1,
    gpus_per_trial: Gpus = "0",
    address: Address = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Go on with a study where it was stopped."""
    if address is not None and address.startswith(DISTANT):
        raise FsgError(
            f"Send the study's file again: fsg ablate FILE --address {address} goes on where it was stopped."
        )
    folder, output = open_study(study, storage), _output(quiet, json)
    resources = _resources(cpus_per_trial, gpus_per_trial, address)
    from fsg.tune.preflight import fit

    spec, uri = folder.spec(), _tracking(tracking_uri)
    with fit(spec, resources, folder.path.parent), driving(folder.path, _console(hushed=output == "json")) as lock:
        _run(folder, spec, uri, resources, output, lock)


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Name or path of a study; of several, one table of all arms."),
    ],
    top: Annotated[int, typer.Option(min=1, help="Of a sweep: how many of its best trials.")] = 10,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics", help="Also draw what each layer of each arm did in each epoch.")
    ] = False,
    storage: Storage = "studies",
) -> None:
    """Make the comparison table again, from the ledger."""
    from fsg.report.study_report import make_report

    if len(studies) > 1:
        _compare_several(studies, diagnostics, storage)
        return
    folder = open_study(studies[0], storage)
    state = folder.state()
    report = make_report(folder.spec(), state, top)
    _console().print(*report.terminal, sep="\n\n")
    files = report.write(folder.reports)
    if diagnostics:
        from fsg.report.diagnostics import draw_diagnostics
        from fsg.report.figures import save

        events = folder.events()
        for arm in dict.fromkeys(record.arm for record in state.trials.values()):
            name = f"diagnostics_{arm.replace('/', '_')}.svg"
            files.append(save(draw_diagnostics(state, events, arm, folder.path.name), folder.reports / name))
    typer.echo(f"Written to {folder.reports}: {', '.join(path.name for path in files)}")


def _compare_several(names: list[str], diagnostics: bool, storage: str) -> None:
    from fsg.errors import StudyError
    from fsg.report.across import Source, compare_studies

    if diagnostics:
        raise StudyError("--diagnostics draws the layers of one study; name one.")
    folders = [open_study(name, storage) for name in names]
    report = compare_studies([Source(f.path.name, f.spec(), f.state()) for f in folders])
    _console().print(*report.terminal, sep="\n\n")
    place = local(storage) / "comparisons" / "+".join(folder.path.name for folder in folders)
    files = report.write(place)
    typer.echo(f"Written to {place}: {', '.join(path.name for path in files)}")


def sync(
    study: Annotated[str, typer.Argument(help="Name or path of a study.")],
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
) -> None:
    """Bring the copy in MLflow up to date with the ledger, or make it again where it was deleted."""
    from fsg.report.study_report import make_report

    folder = open_study(study, storage)
    exporter = _exporter(_tracking(tracking_uri), folder)
    written = exporter.export(folder.events())
    exporter.settle()
    report = make_report(folder.spec(), folder.state())
    exporter.log_report(report.rows, report.markdown, report.write(folder.reports), report.arm_metrics, report.seeds)
    typer.echo(f"MLflow holds the {written} events of {folder.path}.")


def ui(
    study: Annotated[str | None, typer.Argument(help="Open at this study's arms; all experiments if left out.")] = None,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on loopback; a free one if left out.")
    ] = None,
    server: Annotated[
        Path | None, typer.Option(help="YAML of a server for a team, as in clusters/mlflow-*.yaml: with a login.")
    ] = None,
) -> None:
    """Open MLflow on the studies' store and stay until Ctrl-C."""
    from fsg.tracking import serve

    if server is not None:
        from fsg.errors import ConfigError
        from fsg.tracking.team import load_team_server, serve_team

        team = load_team_server(server)
        if study or tracking_uri or port:
            raise ConfigError(
                f"--server {server} says which store and port; leave STUDY, --tracking-uri and --port out."
            )
        _stay(serve_team(team), f"log in as {team.login.admin}; MLflow")
        return
    uri = _tracking(tracking_uri)
    folder = open_study(study, storage) if study else None
    _stay(serve(uri, port), "MLflow", lambda address: _exporter(uri, folder).study_url(address) if folder else address)


def _stay(server: TrackingServer, what: str, page: Callable[[str], str] = str) -> None:
    with server:
        typer.echo(f"{what}: {page(server.address)}\nCtrl-C ends it.")
        with suppress(KeyboardInterrupt):
            server.wait()


def _start(
    path: Path,
    kind: str,
    dry_run: bool,
    storage: str,
    tracking_uri: str | None,
    resources: Resources,
    output: Output,
    accept_changes: bool = False,
) -> None:
    from fsg.errors import StudyError
    from fsg.study.spec import AblationSpec, load_study

    cpus, gpus, address = resources.cpus_per_trial, resources.gpus_per_trial, resources.address
    spec = load_study(path)
    if spec.kind != kind:
        other = "sweep" if spec.kind == "sweep" else "ablate"
        raise StudyError(f"{path}: this is a study of kind {spec.kind}; run it with: fsg {other} {path}")
    if address is not None and address.startswith(DISTANT) and not dry_run:
        from fsg.cli.jobs import submit

        share = ["--cpus-per-trial", f"{cpus:g}", "--gpus-per-trial", f"{gpus:g}"]
        share += [f"--{output}"] if output != "text" else []
        submit("sweep" if kind == "sweep" else "ablate", path, spec.name, storage, tracking_uri, share, address)
        return
    if isinstance(spec, AblationSpec):
        spec = _budgeted(spec, storage, cpus, gpus)
    if dry_run:
        from fsg.report.dry_run import describe_plan

        _console().print(describe_plan(spec, resources))
        return
    uri = _tracking(tracking_uri)
    from fsg.tune.preflight import fit

    place = local(storage)
    with fit(spec, resources, place), driving(place / spec.name, _console(hushed=output == "json")) as lock:
        folder = begin_study(spec, storage, accept_changes)
        _run(folder, spec, uri, resources, output, lock)


def _resources(cpus: float, gpus: str, address: str | None) -> Resources:
    """What a trial takes, from the options as they were typed."""
    from fsg.errors import ConfigError
    from fsg.tune.runner import Resources

    if gpus == "auto":
        return Resources(cpus, 1.0, address, pack=True)
    try:
        number = float(gpus)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise ConfigError(f'--gpus-per-trial is "{gpus}", expected a number from 0 on, or auto.')
    return Resources(cpus, number, address)


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


def _output(quiet: bool, json: bool) -> Output:
    from fsg.errors import ConfigError

    if quiet and json:
        raise ConfigError("--quiet and --json are two ways to say less; give one of them.")
    return "json" if json else "quiet" if quiet else "text"


def _run(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    uri: str,
    resources: Resources,
    output: Output,
    lock: StudyLock,
) -> None:
    console = _console(hushed=output == "json")
    with copied(folder, console) as copy:
        _run_and_report(folder, spec, uri, resources, console, output, lock, copy)


def _run_and_report(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    uri: str,
    resources: Resources,
    console: Console,
    output: Output,
    lock: StudyLock,
    copy: FollowingMirror | None,
) -> None:
    from fsg.report.study_report import make_report
    from fsg.study.spec import AblationSpec

    if isinstance(spec, AblationSpec) and spec.retune is not None:
        spec = _tuned(folder, spec, uri, resources, console, output, copy)
    exporter, behind = _run_trials(folder, spec, uri, resources, console, _name_of(folder), output, lock, copy)
    report = make_report(spec, folder.state())
    console.print(*report.terminal, sep="\n\n")
    files = report.write(folder.reports)
    if behind is None and exporter is not None:
        try:
            exporter.log_report(report.rows, report.markdown, files, report.arm_metrics, report.seeds)
        except FsgError as error:  # the report stands in the study's folder
            behind = f"{error} Its report is not there; once it is back, write it with: fsg sync {_name_of(folder)}"
    if behind is not None:
        console.print(behind, style="yellow", highlight=False)
    console.print(_closing(exporter, uri, spec, folder), highlight=False, soft_wrap=True)
    trials = list(folder.state().trials.values())
    if trials and all(trial.status == "failed" for trial in trials):
        raise FsgError(f"{folder.path}: all {len(trials)} trials failed, the first of them: {trials[0].reason}")


def _tuned(
    folder: StudyFolder,
    spec: AblationSpec,
    uri: str,
    resources: Resources,
    console: Console,
    output: Output,
    copy: FollowingMirror | None,
) -> AblationSpec:
    """Search for each arm, each a study of its own in ``retune/``, and the comparison of what they found."""
    from fsg.study.folder import StudyFolder
    from fsg.study.tuned import arm_sweeps, tuned_config

    found = {}
    for arm, sweep in arm_sweeps(spec).items():
        place = StudyFolder.create_or_open(sweep, folder.path / "retune")
        with driving(place.path, console) as lock:
            _run_trials(place, sweep, uri, resources, console, _name_of(folder), output, lock, copy)
        found[arm] = tuned_config(sweep, place.state())
    return spec.with_tuned(found)


def _run_trials(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    uri: str,
    resources: Resources,
    console: Console,
    name: str,
    output: Output,
    lock: StudyLock,
    copy: FollowingMirror | None,
) -> tuple[Exporter | None, str | None]:
    """Run what is left, with its display and its copy in MLflow; the exporter, and what it could not write.

    ``name`` is what ``fsg resume`` takes to go on.
    """
    from fsg.report.progress import Display, Progress
    from fsg.study.design import plan
    from fsg.study.header import begin
    from fsg.study.ledger import Ledger, whole_bytes
    from fsg.study.lock import ledger_bytes
    from fsg.study.mend import mend
    from fsg.study.spec import SweepSpec
    from fsg.tracking import FollowingExporter
    from fsg.tune.runner import run_study

    for sentence in mend(folder, spec, ledger_bytes(lock.before)):
        console.print(sentence, style="yellow", highlight=False, soft_wrap=True)
    state = folder.state()
    trials = spec.search.trials * len(spec.seeds) if isinstance(spec, SweepSpec) else len(plan(spec))
    is_sweep, budget = isinstance(spec, SweepSpec), _budget_used(folder, spec, resources)
    progress = Progress(spec.name, trials, spec.base.epochs, spec.metric.name, spec.metric.mode, is_sweep, budget)
    progress.recall(state)
    if output == "text":
        console.print(_opening(folder, spec, trials, progress.done), highlight=False)

    exporter = FollowingExporter(folder.ledger_path, uri, spec.metric.name, spec.metric.mode)
    lock.notes = lambda: {"mlflow": exporter.status[:300], "ledger_bytes": whole_bytes(folder.ledger_path)}
    try:
        copies: list[Any] = [exporter] if copy is None else [exporter, copy]
        display = Display(progress, console, lambda: " · ".join(each.status for each in copies), output)
        ledger = Ledger(folder.ledger_path, listener=display.see)
        if state.header is None:
            begin(ledger, spec)
        with display:
            try:
                complete = run_study(folder, spec, resources, ledger, _enough(spec))
            except KeyboardInterrupt:  # before Ray Tune was there to take it
                complete = False
    finally:
        behind = exporter.close()
    display.say("complete" if complete else "interrupted", folder=str(folder.path), **progress.summary())
    if not complete:
        console.print(f"Stopped. Go on with: fsg resume {name}", highlight=False)
        raise typer.Exit(130)
    return exporter.exporter, behind


def _budget_used(folder: StudyFolder, spec: AblationSpec | SweepSpec, resources: Resources) -> Callable[[], str]:
    """What says how much of a sweep's budget is used; nothing where there is none."""
    from fsg.study.spec import SweepSpec
    from fsg.tune.budget import Meter, Tail, used

    budget = spec.budget if isinstance(spec, SweepSpec) else None
    if budget is None:
        return lambda: ""
    tail = Tail(folder.ledger_path, Meter(resources.cpus_per_trial, resources.gpus_per_trial, budget.prices))
    return lambda: used(budget, tail.spent())


def _enough(spec: AblationSpec | SweepSpec) -> Enough:
    """When sequential seeds stop: by intervals that account for every look."""
    from fsg.stats.sequential import plan_looks
    from fsg.study.seeds import SequentialSeeds
    from fsg.study.spec import AblationSpec

    if not isinstance(spec, AblationSpec) or not isinstance(spec.seeds, SequentialSeeds):
        return lambda differences, half_width: True
    looks = plan_looks(spec.seeds.min, spec.seeds.max, spec.analysis.interval or 0.95)
    return looks.enough


def _name_of(folder: StudyFolder) -> str:
    """As a user would name the study: its own name in the default storage, else its path."""
    return folder.path.name if folder.path.parent == STUDIES else str(folder.path)


def _opening(folder: StudyFolder, spec: AblationSpec | SweepSpec, trials: int, done: int) -> str:
    already = f", {done} of them done before" if done else ""
    return f"{spec.question or spec.name}\n{trials} trials of {spec.base.epochs} epochs{already}; recorded in {folder.path}"


def _closing(exporter: Exporter | None, uri: str, spec: AblationSpec | SweepSpec, folder: StudyFolder) -> str:
    what = "trials" if spec.kind == "sweep" else "arms"
    where = "" if str(folder.path) == f"studies/{spec.name}" else f" --storage {folder.path.parent}"
    known = uri in (DEFAULT_TRACKING, os.environ.get("MLFLOW_TRACKING_URI"))
    store = "" if known else f" --tracking-uri {redact(uri)}"
    if uri.startswith(("http://", "https://")) and exporter is not None:
        with suppress(FsgError):  # it has gone away meanwhile: fsg ui will say so
            return f"Browse the {what} side by side: {exporter.study_url(redact(uri).replace('***@', '').rstrip('/'))}"
    return f"Browse the {what} side by side: fsg ui {spec.name}{where}{store}"


def _exporter(uri: str, folder: StudyFolder) -> Exporter:
    from fsg.errors import StudyError
    from fsg.tracking import Exporter

    spec, header = folder.spec(), folder.state().header
    if header is None:
        raise StudyError(f"{folder.path}: nothing has been run yet, so there is nothing to show.")
    return Exporter(uri, header, spec.metric.name, spec.metric.mode)


def _tracking(uri: str | None) -> str:
    from fsg.errors import ConfigError

    named = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING
    if named.partition("://")[0].partition("+")[0] not in STORES or "://" not in named:
        where = "--tracking-uri" if uri else "$MLFLOW_TRACKING_URI"
        raise ConfigError(
            f'{where} is "{redact(named)}", expected a database or a server that MLflow can use, '
            f"as in {DEFAULT_TRACKING} or http://127.0.0.1:5000. MLflow keeps no runs in plain folders any more."
        )
    return named


def _console(hushed: bool = False) -> Console:
    from rich.console import Console

    return Console(quiet=hushed)
