"""A study runs: with its display, its copy in MLflow and perhaps one in a bucket, to the report or to a clean stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsg.database import absolute_address
from fsg.driver.locate import copied
from fsg.driver.session import driving
from fsg.driver.store import DEFAULT_TRACKING
from fsg.errors import FsgError
from fsg.redaction import redact
from fsg.report.plain import plain_console, say

if TYPE_CHECKING:
    from rich.console import Console

    from fsg.execution.engine import Engine, Resources
    from fsg.record.driver_lock import StudyLock
    from fsg.record.folder import StudyFolder
    from fsg.record.ledger import Ledger, StudyState
    from fsg.record.mirror import FollowingMirror
    from fsg.record.remaining import Enough
    from fsg.report.progress import Output
    from fsg.study.spec import AblationSpec, SweepSpec
    from fsg.tracking import Exporter


MLFLOW_SECONDS, NOW = 60.0, 1.0  # for the rest of MLflow's copy, when a study stops, or is to stop now
_RESULTS = ("epoch", "failed", "retried")  # which say that the trials have started: MLflow's copy can, too


@dataclass(frozen=True)
class RunContext:
    """What all searches and runs of one study share: MLflow's store, who trains, where it is said, the copy in a bucket."""

    uri: str
    engine: Engine
    console: Console
    output: Output
    copy: FollowingMirror | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: whether every trial has ended, and a sentence for each study of it with trials that failed."""

    complete: bool
    failed: tuple[str, ...] = ()


def run_and_report(
    folder: StudyFolder, spec: AblationSpec | SweepSpec, uri: str, engine: Engine, output: Output, lock: StudyLock
) -> Outcome:
    """Run what is left of the study, copy it to the MLflow store at ``uri``, and report once it is complete."""
    from fsg.execution.storage import StudyStorage
    from fsg.record.surroundings import remember_surroundings

    console = plain_console(quiet=output == "json")
    with StudyStorage(folder), copied(folder, console) as copy:
        remember_surroundings(folder.path, uri)
        try:
            _run_and_report(folder, spec, lock, RunContext(uri, engine, console, output, copy))
        except _Stopped:
            return Outcome(False)
    return Outcome(True, tuple(said for place in _studies_of(folder) if (said := _failed(place)) is not None))


class _Stopped(Exception):
    """The study was stopped before its end, cleanly."""


def _run_and_report(folder: StudyFolder, spec: AblationSpec | SweepSpec, lock: StudyLock, context: RunContext) -> None:
    from fsg.report.study_report import make_report
    from fsg.study.spec import AblationSpec

    if isinstance(spec, AblationSpec) and spec.retune is not None:
        spec = _tuned(folder, spec, context)
    exporter, behind = _run_trials(folder, spec, lock, context)
    report = make_report(spec, folder.state())
    context.console.print(*report.terminal, sep="\n\n")
    files = report.write(folder.reports)
    if behind is None and exporter is not None:
        try:
            exporter.log_report(
                report.rows, report.markdown, files, report.arm_metrics, report.seeds, report.note, report.arm_meanings
            )
        except FsgError as error:  # the report stands in the study's folder
            behind = f"{error} Its report is not there; once it is back, write it with: fsg sync {folder.called}"
    if behind is not None:
        say(context.console, behind, "yellow")
    say(context.console, _closing(exporter, context.uri, spec, folder))


def _studies_of(folder: StudyFolder) -> list[StudyFolder]:
    """A study, and before it the searches of its arms."""
    from fsg.record.folder import StudyFolder

    return [*(StudyFolder(path.parent) for path in sorted(folder.path.glob("retune/*/spec.yaml"))), folder]


def _failed(folder: StudyFolder) -> str | None:
    """How many trials of a study failed, with the reason of the first; None where none did."""
    trials = list(folder.state().trials.values())
    failed = [trial for trial in trials if trial.status == "failed"]
    if not failed:
        return None
    count = f"all {len(trials)}" if len(failed) == len(trials) else f"{len(failed)} of {len(trials)}"
    return f"{folder.path}: {count} trials failed, the first of them: {failed[0].reason}"


def _tuned(folder: StudyFolder, spec: AblationSpec, context: RunContext) -> AblationSpec:
    """Search for each arm, each a study of its own in ``retune/``, and the comparison of what they found."""
    from fsg.record.folder import StudyFolder
    from fsg.record.tuned import tuned_config
    from fsg.study.tuned import arm_sweeps

    found = {}
    for arm, sweep in arm_sweeps(spec).items():
        place = StudyFolder.create_or_open(sweep, folder.path / "retune")
        with driving(place.path, context.console) as lock:
            _run_trials(place, sweep, lock, context, folder.called)
        found[arm] = tuned_config(sweep, place.state())
    return spec.with_tuned(found)


def _run_trials(
    folder: StudyFolder, spec: AblationSpec | SweepSpec, lock: StudyLock, context: RunContext, name: str | None = None
) -> tuple[Exporter | None, str | None]:
    """Run what is left, with its display and its copy in MLflow; the exporter, and what it could not write.

    ``name`` is what ``fsg resume`` takes to go on, if not this study.
    """
    from fsg.driver.trials import run_study
    from fsg.record.driver_lock import ledger_bytes
    from fsg.record.ledger import Ledger, whole_bytes
    from fsg.record.repair import repair
    from fsg.record.status import planned_trials
    from fsg.report.progress import Display, Progress
    from fsg.study.spec import SweepSpec
    from fsg.tracking import FollowingExporter

    console, output = context.console, context.output
    for sentence in repair(folder, spec, ledger_bytes(lock.before)):
        say(console, sentence, "yellow")
    state = folder.state()
    trials = planned_trials(spec)
    is_sweep, budget = isinstance(spec, SweepSpec), _budget_used(folder, spec, context.engine.resources)
    at_most = isinstance(spec, SweepSpec) and len(spec.seeds) > 1
    metric = (spec.metric.name, spec.metric.mode)
    progress = Progress(spec.name, trials, spec.base.epochs, *metric, is_sweep, budget, at_most)
    progress.recall(state)
    if output == "text":
        say(console, _opening(folder, spec, trials, progress.done))

    exporter = FollowingExporter(folder.ledger_path, context.uri, spec.metric.name, spec.metric.mode, waits=True)
    patience = MLFLOW_SECONDS
    lock.notes = lambda: {"mlflow": exporter.status[:300], "ledger_bytes": whole_bytes(folder.ledger_path)}
    try:
        copies: list[Any] = [each for each in (exporter, context.copy) if each is not None]
        display = Display(progress, console, lambda: " · ".join(each.status for each in copies), output)

        def see(event: dict[str, Any]) -> None:
            display.see(event)
            if event["event"] in _RESULTS:
                exporter.begin()

        ledger = Ledger(folder.ledger_path, listener=see)
        _note_versions(ledger, spec, state, context)
        with display:
            try:
                complete = run_study(folder, spec, context.engine, ledger, _enough(spec))
            except KeyboardInterrupt:  # the second, or one before Ray Tune was there to take it
                complete, patience = False, NOW
    finally:
        behind = exporter.close(patience)
    display.say("complete" if complete else "interrupted", folder=str(folder.path), **progress.summary())
    if not complete:
        say(console, f"Stopped. Go on with: fsg resume {name or folder.called}")
        raise _Stopped
    return exporter.exporter, behind and behind.replace("fsg sync STUDY", f"fsg sync {name or folder.called}")


def _note_versions(ledger: Ledger, spec: AblationSpec | SweepSpec, state: StudyState, context: RunContext) -> None:
    """Write what the study runs under, where that is new, and say so where its numbers may come out otherwise."""
    from fsg.record.ledger_header import begin, installed_versions
    from fsg.record.versions import change

    if state.header is None:
        begin(ledger, spec)
        return
    now = installed_versions()
    here = context.engine.resources.address is None  # of a cluster's nodes it is not known yet
    if sentence := change(state, now, context.engine.device() if here else None):
        say(context.console, sentence, "yellow")
    if now != state.versions:
        ledger.append("versions", versions=now)


def _budget_used(folder: StudyFolder, spec: AblationSpec | SweepSpec, resources: Resources) -> Callable[[], str]:
    """What says how much of a sweep's budget is used; nothing where there is none."""
    from fsg.search.budget import FollowingMeter, Meter, used
    from fsg.study.spec import SweepSpec

    budget = spec.budget if isinstance(spec, SweepSpec) else None
    if budget is None:
        return lambda: ""
    meter = FollowingMeter(folder.ledger_path, Meter(resources.cpus_per_trial, resources.gpus_per_trial, budget.prices))
    return lambda: used(budget, meter.spent())


def _enough(spec: AblationSpec | SweepSpec) -> Enough:
    """When sequential seeds stop: by intervals that account for every look."""
    from fsg.stats.sequential import plan_looks
    from fsg.study.seeds import SequentialSeeds
    from fsg.study.spec import AblationSpec

    if not isinstance(spec, AblationSpec) or not isinstance(spec.seeds, SequentialSeeds):
        return lambda differences, half_width: True
    looks = plan_looks(spec.seeds.min, spec.seeds.max, spec.analysis.interval or 0.95)
    return looks.enough


def _opening(folder: StudyFolder, spec: AblationSpec | SweepSpec, trials: int, done: int) -> str:
    already = f", {done} of them done before" if done else ""
    most = "at most " if getattr(spec, "seeds_per_config", 1) > 1 else ""
    return f"{spec.question or spec.name}\n{most}{trials} trials of {spec.base.epochs} epochs{already}; recorded in {folder.path}"


def _closing(exporter: Exporter | None, uri: str, spec: AblationSpec | SweepSpec, folder: StudyFolder) -> str:
    what = "trials" if spec.kind == "sweep" else "arms"
    known = uri in (DEFAULT_TRACKING, absolute_address(os.environ.get("MLFLOW_TRACKING_URI", "")))
    store = "" if known else f" --tracking-uri {redact(uri)}"
    if uri.startswith(("http://", "https://")) and exporter is not None:
        with suppress(FsgError):  # it has gone away meanwhile: fsg ui will say so
            return f"Browse the {what} side by side: {exporter.study_url(redact(uri).replace('***@', '').rstrip('/'))}"
    return f"Browse the {what} side by side: fsg ui {folder.called}{store}"
