"""``fsg compare``, ``sync``, ``ui``: looking at what studies have recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.options import FILE, Document, Storage, Tracking, UpgradeStore, console_of, say_aside, tracking_of
from fsg.cli.studies import Study, complete, no_study
from fsg.driver.locate import local, open_study
from fsg.redaction import redact

if TYPE_CHECKING:
    from fsg.record.folder import StudyFolder
    from fsg.report.study_report import StudyReport
    from fsg.tracking import Exporter
    from fsg.tracking.server import TrackingServer


def compare(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY...",
            help="Name or path of a study; of several, one table of all arms.",
            autocompletion=complete,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Of a sweep: how many of its best trials.")] = 10,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics", help="Also draw what each layer of each arm did in each epoch.")
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw the figures; without, the page has the tables alone.")
    ] = True,
    html: Annotated[
        bool, typer.Option("--html", help="Only the page: written without the other files, and its address printed.")
    ] = False,
    storage: Storage = "studies",
    as_json: Document = False,
) -> None:
    """Make the comparison table again, from the ledger."""
    from fsg.errors import ConfigError
    from fsg.report.study_report import make_report

    if not studies:
        raise no_study("compare", storage)
    if html and (diagnostics or as_json):
        raise ConfigError("--html writes the page and nothing else; leave --diagnostics and --json out.")
    if len(studies) > 1:
        _compare_several(studies, diagnostics, storage, html, as_json)
        return
    folder = open_study(studies[0], storage)
    state = folder.state()
    report = make_report(folder.spec(), state, top)
    if html:
        typer.echo(report.write_page(folder.reports).absolute().as_uri())
        return
    _show(report, as_json)
    files = report.write(folder.reports, drawings=figures)
    if diagnostics:
        from fsg.driver.trained import landscapes
        from fsg.report.diagnostics import draw_diagnostics
        from fsg.report.figures import save

        events = folder.events()
        for arm in dict.fromkeys(record.arm for record in state.trials.values()):
            name = f"diagnostics_{arm.replace('/', '_')}.svg"
            files.append(save(draw_diagnostics(state, events, arm, folder.path.name), folder.reports / name))
        files += landscapes(folder)
    _say_written(folder.reports, files, as_json)


def _compare_several(names: list[str], diagnostics: bool, storage: str, html: bool, as_json: bool) -> None:
    from fsg.errors import StudyError
    from fsg.report.across import Source, compare_studies

    if diagnostics:
        raise StudyError("--diagnostics draws the layers of one study; name one.")
    folders = [open_study(name, storage) for name in names]
    report = compare_studies([Source(f.path.name, f.spec(), f.state()) for f in folders])
    place = local(storage) / "comparisons" / "+".join(folder.path.name for folder in folders)
    if html:
        typer.echo(report.write_page(place).absolute().as_uri())
        return
    _show(report, as_json)
    _say_written(place, report.write(place), as_json)


def _show(report: StudyReport, as_json: bool) -> None:
    if not as_json:
        console_of().print(*report.terminal, sep="\n\n")
        return
    from fsg.report.schemas import ComparisonDocument, printed

    typer.echo(printed(ComparisonDocument.of(report)))


def _say_written(place: Path, files: list[Path], as_json: bool) -> None:
    typer.echo(f"Written to {place}: {', '.join(path.name for path in files)}", err=as_json)


def sync(
    study: Study = None,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    register: Annotated[
        bool,
        typer.Option("--register", help="Also put the best network, without hypernetworks, into MLflow's registry."),
    ] = False,
) -> None:
    """Bring the copy in MLflow up to date with the ledger, or make it again where it was deleted."""
    if study is None:
        raise no_study("sync", storage)
    from fsg.report.study_report import make_report

    folder = open_study(study, storage)
    exporter = _exporter(tracking_of(tracking_uri, upgrade_store, folder.path), folder)
    written = _bring_up_to_date(exporter, folder)
    report = make_report(folder.spec(), folder.state())
    files = report.write(folder.reports)
    exporter.log_report(
        report.rows, report.markdown, files, report.arm_metrics, report.seeds, report.note, report.arm_meanings
    )
    typer.echo(f"MLflow holds the {written} events of {folder.path}.")
    if register:
        from fsg.driver.trained import best_network

        record, network, images = best_network(folder)
        called = exporter.register(record.key, network, images)
        typer.echo(f"Registered as {called}: trial {record.key} ({record.arm}, seed {record.seed}).")


def ui(
    study: Annotated[
        str | None,
        typer.Argument(help="Open at this study's arms; all experiments if left out.", autocompletion=complete),
    ] = None,
    storage: Storage = "studies",
    tracking_uri: Tracking = None,
    upgrade_store: UpgradeStore = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on loopback; a free one if left out.")
    ] = None,
    server: Annotated[
        Path | None,
        typer.Option(
            **FILE,
            help="YAML of a server for a team, as in clusters/mlflow-*.yaml: with a login.",
        ),
    ] = None,
) -> None:
    """Open MLflow on the studies' store and stay until Ctrl-C. What a killed driver left open of STUDY is closed first."""
    from fsg.record.driver_lock import driver_of, was_killed

    if server is not None:
        from fsg.errors import ConfigError
        from fsg.tracking.team import load_team_server, serve_team

        team = load_team_server(server)
        if study or tracking_uri or port:
            raise ConfigError(
                f"--server {server} says which store and port; leave STUDY, --tracking-uri and --port out."
            )
        _starting(team.store)
        _stay(serve_team(team, upgrade_store=upgrade_store, say=say_aside), f"log in as {team.login.admin}; MLflow")
        return
    if study is None:
        uri = tracking_of(tracking_uri, upgrade_store)
        _starting(uri)
        from fsg.tracking import serve

        _stay(serve(uri, port), "MLflow")
        return
    folder = open_study(study, storage)
    uri = tracking_of(tracking_uri, upgrade_store, folder.path)
    _starting(uri)
    from fsg.tracking import serve

    exporter = _exporter(uri, folder)
    if was_killed(driver_of(folder.path)):
        _bring_up_to_date(exporter, folder)
    _stay(serve(uri, port), "MLflow", exporter.study_url)


def _starting(store: str) -> None:
    """What is waited for, at once: importing MLflow alone takes seconds. Not among what a script reads."""
    typer.echo(f"Starting MLflow on {redact(store)} ...", err=True)


def _stay(server: TrackingServer, what: str, page: Callable[[str], str] = str) -> None:
    with server:
        typer.echo(f"{what}: {page(server.address)}\nCtrl-C ends it.")
        with suppress(KeyboardInterrupt):
            server.wait()


def _bring_up_to_date(exporter: Exporter, folder: StudyFolder) -> int:
    """Write what the ledger holds, and close what nobody works on; returns how many events there are."""
    from fsg.record.driver_lock import driver_of

    written = exporter.export(folder.events())
    driver = driver_of(folder.path)
    if not (driver and driver["alive"]):
        exporter.settle()
    return written


def _exporter(uri: str, folder: StudyFolder) -> Exporter:
    from fsg.errors import StudyError
    from fsg.tracking import Exporter

    spec, header = folder.spec(), folder.state().header
    if header is None:
        raise StudyError(f"{folder.path}: nothing has been run yet, so there is nothing to show.")
    return Exporter(uri, header, spec.metric.name, spec.metric.mode)
