"""``fsg.run``: a study from its file, or from its specification in Python, to its report.

    study = fsg.run("ablations/components.yaml", engine=fsg.LocalEngine())
    study.compare()

What ``fsg ablate`` and ``fsg sweep`` do is the same, with Ray as engine. Proof: ``tests/driver/test_study.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.errors import ConfigError, FsgError, StudyError
from fsg.execution.engine import Engine, Resources
from fsg.report.plain import plain_console, say

if TYPE_CHECKING:
    from fsg.driver.study import Study
    from fsg.report.progress import Output
    from fsg.study.spec import AblationSpec, SweepSpec


class StudyInterrupted(FsgError):
    """The run was stopped before its end, cleanly; ``fsg.run`` with the same study goes on with it."""

    exit_code = 130


def run(
    study: str | Path | AblationSpec | SweepSpec,
    *,
    engine: Engine | None = None,
    storage: str | Path = "studies",
    tracking_uri: str | None = None,
    plugins: Iterable[str | Path] = (),
    output: Output = "text",
    accept_changes: bool = False,
    allow_failed: bool = False,
) -> Study:
    """Run what is left of a study, copy it to MLflow, write its report, and open it.

    Args:
        study: The path of its YAML, or its specification.
        engine: Who trains. None: ``RayEngine`` on the cores of this machine, one a trial. ``LocalEngine``: this process.
        storage: The folder in which studies live.
        tracking_uri: The MLflow store. None: $MLFLOW_TRACKING_URI, else ``sqlite:///mlflow.db``.
        plugins: Of a file: Python files that register parts, beside those that it names.
        output: ``text`` shows progress and the table, ``quiet`` the table alone, ``json`` an event a line.
        accept_changes: Go on though the study changed: trials that it no longer names are set aside.
        allow_failed: Return though trials failed.

    Raises:
        ConfigError: The file, or the specification, says what cannot be.
        StudyError: The study cannot go on; or trials failed, and that is not allowed.
        StudyInterrupted: Ctrl-C; everything is recorded.
    """
    from fsg.driver.arm_costs import with_costs
    from fsg.driver.fusing import with_fusing
    from fsg.driver.locate import begin_study, fetched, local
    from fsg.driver.run import run_and_report
    from fsg.driver.session import driving
    from fsg.driver.store import tracking_of
    from fsg.driver.study import Study
    from fsg.record.folder import StudyFolder
    from fsg.record.refined import with_norms
    from fsg.study.spec import AblationSpec, beginning, checked, load_study

    if isinstance(study, str | Path):
        spec = load_study(study, plugins=plugins)
    elif plugins:
        raise ConfigError(
            "plugins go with a study's file; a specification made in Python has its parts registered already."
        )
    else:
        spec = beginning(checked(study))
    engine, place = engine or _ray(), local(str(storage))
    spec = with_norms(spec, fetched(spec.name, str(storage)))
    if isinstance(spec, AblationSpec):
        has = engine.resources
        spec = with_costs(spec, str(storage), has.cpus_per_trial, has.gpus_per_trial)
    console = plain_console(quiet=output == "json")
    spec, _ = with_fusing(
        spec,
        "auto",
        str(storage),
        engine.resources,
        lambda sentence: say(console, sentence) if output == "text" else None,
    )
    StudyFolder(place / spec.name).refuse_newer()
    uri = tracking_of(tracking_uri, study=place / spec.name)
    with engine.ready(spec, place), driving(place / spec.name, console) as lock:
        folder = begin_study(spec, str(storage), accept_changes)
        spec = spec.in_format(folder.spec().format)
        outcome = run_and_report(folder, spec, uri, engine, output, lock)
    if not outcome.complete:
        raise StudyInterrupted(f"{folder.path}: stopped before its end; run it again to go on.")
    if outcome.failed and not allow_failed:
        raise StudyError("\n".join([*outcome.failed, "Everything else stands in the report. Or allow_failed=True."]))
    return Study(folder)


def _ray() -> Engine:
    from fsg.ray_engine.engine import RayEngine

    return RayEngine(Resources())
