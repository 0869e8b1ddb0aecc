"""``--address job:...`` and ``fsg attach``: a study on a distant cluster, followed from here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.errors import ConfigError, FsgError

if TYPE_CHECKING:
    from fsg.ray_engine.jobs import Jobs


def attach(
    study: Annotated[str, typer.Argument(help="Name of a study that was sent to a cluster.")],
    address: Annotated[str, typer.Option(help="The cluster: job:http://HOST:8265 or ray://HOST.")] = (
        "job:http://127.0.0.1:8265"
    ),
    stop: Annotated[bool, typer.Option("--stop", help="End it there; sending its file again goes on with it.")] = False,
) -> None:
    """Follow a study that runs on a cluster, from its first line."""
    from fsg.ray_engine.jobs import Jobs, job_server

    server = job_server(address)
    if server is None:
        raise ConfigError(f"--address is {address}, expected job:http://HOST:8265 or ray://HOST.")
    jobs = Jobs(server)
    job = jobs.find(study)
    if job is None:
        raise ConfigError(f'{server}: no job of a study "{study}" is known there.')
    if stop:
        jobs.stop(job)
    _follow(jobs, job, study, address, stopping=stop)


def submit(
    kind: str,
    path: Path,
    study: str,
    storage: str,
    tracking_uri: str | None,
    options: list[str],
    address: str,
    excludes: list[str],
) -> None:
    """Send ``fsg KIND PATH`` to the cluster at ``address`` and follow it. ConfigError for what would not work there."""
    from fsg.ray_engine.jobs import Jobs, job_server
    from fsg.redaction import redact

    server, tree = job_server(address), Path.cwd()
    assert server is not None
    if not path.resolve().is_relative_to(tree):
        raise ConfigError(f"{path} lies outside {tree}, which is what is sent to the cluster; run this in its project.")
    if not Path(storage).is_absolute():
        raise ConfigError(
            f"--storage {storage} would be a folder of the job, gone with it. Name one that every node of the cluster "
            "has, as in --storage /mnt/fsg/studies."
        )
    if tracking_uri is not None and redact(tracking_uri) != tracking_uri:
        raise ConfigError(
            f"--tracking-uri {redact(tracking_uri)} has a password, which everyone who sees the cluster's jobs could read. "
            "Leave it out and put it into ~/.mlflow/credentials on the head."
        )
    words = [kind, str(path.resolve().relative_to(tree)), "--address", "auto", "--storage", storage, *options]
    tail = f'--tracking-uri "${{MLFLOW_TRACKING_URI:-sqlite:///{storage}/mlflow.db}}"'
    if tracking_uri is not None:
        words, tail = [*words, "--tracking-uri", tracking_uri], ""
    jobs = Jobs(server)
    job = jobs.submit(study, words, tree, tail, excludes)
    typer.echo(f"{study} runs on {server} as {job}. Ctrl-C leaves it running.")
    _follow(jobs, job, study, address)


def _follow(jobs: Jobs, job: str, study: str, address: str, stopping: bool = False) -> None:
    again = f"fsg attach {study} --address {address}"
    try:
        status = jobs.follow(job, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        typer.echo(f"\nThe study goes on. Follow it again with: {again}\nEnd it with: {again} --stop")
        return
    if status == "STOPPED":
        typer.echo("Stopped there. Sending its file again goes on with it.")
        raise typer.Exit(0 if stopping else 130)
    if status == "FAILED":
        failure = FsgError(f"{study} failed on {jobs.server}; what it said stands above.")
        failure.exit_code = jobs.exit_code(job)
        raise failure
