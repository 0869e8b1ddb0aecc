"""A study as a job of a distant cluster: its driver runs on the head, so the machine that sent it may be closed.

Ray's job submission carries the working tree, without data, checkpoints and environments, and keeps the job's output; whoever
has the token can follow it from anywhere. Proof: ``tests/clusters/test_real_cluster.py``.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fsg.errors import BackendUnavailable, ConfigError, FsgError
from fsg.files import as_size
from fsg.ray_engine.cluster import RAY_ENVIRONMENT, TOKEN_HELP, refuse_open_token, use_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.job_submission import JobSubmissionClient

DASHBOARD_PORT = 8265
STUDY = "fsg_study"  # the job's metadata that names its study
# As in .gitignore; a leading slash is the tree's own top, so that the package fsg/data goes along.
NOT_SHIPPED = (
    "/data/", "/studies/", "/mlruns/", "/mlartifacts/", "/mlflow.db*", "*.pt", "*.ckpt",
    ".venv/", "venv/", ".git/", "__pycache__/", ".*_cache/", ".hypothesis/", "/build/", "/dist/",
)  # fmt: skip
LARGEST = 100 * 2**20  # bytes of a request that Ray's dashboard takes; what is sent is not compressed
# Ray would leave some out by itself, with a line about each; NOT_SHIPPED names them all.
SHIPPING = {"RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": ""}
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
# How long a driver that was asked to end may take for its trials to save, before Ray kills it: 3 s is enough for digits.
STOPPING = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # of a network that is away, before following is given up; the job does not notice
AGENT_PORT = 52365  # of every Ray, and only one on a machine has it: the others' heads run, and start no job
AGENT_SECONDS = 50.0  # a head answers before the agent that starts jobs on it does
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def job_server(address: str | None) -> str | None:
    """The job server that an address means: ``job:http://HOST:8265``, or ``ray://HOST``, whose dashboard has the usual port.

    None for an address that this process joins itself.
    """
    if address is None or not address.startswith(("job:", "ray://")):
        return None
    server = address.removeprefix("job:")
    parts = urlsplit(server)
    if parts.scheme == "ray" and parts.hostname:
        return f"http://{parts.hostname}:{DASHBOARD_PORT}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BackendUnavailable(f'--address is "{address}", expected job:http://HOST:{DASHBOARD_PORT} or ray://HOST.')
    return server.rstrip("/")


def shipped(tree: Path, excludes: Sequence[str]) -> Counter[str]:
    """Bytes of what would be sent, by file or folder at the top of ``tree``: less what .gitignore and .rayignore name."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found = Counter[str]()

    def count(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(tree).parts[0]] += path.stat().st_size

    _dir_travel(tree, [_get_excludes(tree, list(excludes))], count, include_gitignore=True)
    return found


def size_problem(found: Mapping[str, int]) -> str | None:
    """What is wrong with sending so many bytes, by file or folder; None if nothing is."""
    total = sum(found.values())
    if total < LARGEST:
        return None
    largest = sorted(found, key=lambda name: found[name], reverse=True)[:3]
    named = ", ".join(f"{name} ({as_size(found[name])})" for name in largest)
    return (
        f"has {as_size(total)} to send, and a cluster takes {as_size(LARGEST)}; most of it is {named}. Leave out what the study "
        f"does not import: --exclude /{largest[0]}, or a line /{largest[0]} in a file .rayignore."
    )


class Jobs:
    """The jobs of the cluster whose job server is at ``server`` (http).

    BackendUnavailable, with what to mend, where nobody answers or the token is wrong.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        os.environ.update(RAY_ENVIRONMENT | SHIPPING)
        use_token()
        refuse_open_token()
        from ray.job_submission import JobSubmissionClient

        for name in CHATTY:  # each package that is made, uploaded or there already
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._one_message():
            self._client: JobSubmissionClient = JobSubmissionClient(server)
            self._client.get_version()

    def submit(self, study: str, words: Sequence[str], tree: Path, tail: str = "", excludes: Sequence[str] = ()) -> str:
        """Ship ``tree`` without ``excludes`` and run ``fsg *words`` there, ``tail`` appended as shell; the job's name.

        FsgError while another job works on this study: two drivers would write one ledger. ConfigError for too large a tree.
        """
        left_out = [*NOT_SHIPPED, *excludes]
        if problem := size_problem(shipped(tree, left_out)):
            raise ConfigError(f"{tree} {problem}")
        if other := self.find(study, only_running=True):
            raise FsgError(f"{study} runs on {self.server} already, as {other}. Follow it with: fsg attach {study}")
        entrypoint = f"python -m fsg.cli {shlex.join(words)} {tail}".strip()
        with self._one_message():
            deadline = time.monotonic() + AGENT_SECONDS
            while True:
                try:
                    job: str = self._client.submit_job(
                        entrypoint=entrypoint,
                        runtime_env={"working_dir": str(tree), "excludes": left_out, "env_vars": STOPPING},
                        metadata={STUDY: study},
                    )
                    return job
                except RuntimeError as error:
                    if "No available agent" not in str(error):
                        raise
                    if time.monotonic() > deadline:
                        raise BackendUnavailable(
                            f"{self.server}: nothing on its head starts jobs. Another Ray on that machine may have port "
                            f"{AGENT_PORT}: start the head with `ray start --head --dashboard-agent-listen-port=PORT`."
                        ) from None
                    time.sleep(1)

    def find(self, study: str, only_running: bool = False) -> str | None:
        """The newest job of ``study``, or None."""
        with self._one_message():
            jobs = [job for job in self._client.list_jobs() if (job.metadata or {}).get(STUDY) == study]
        fitting = [job for job in jobs if not (only_running and job.status in ENDED) and job.submission_id]
        newest = max(fitting, key=lambda job: job.start_time or 0, default=None)
        return newest.submission_id if newest else None

    def follow(self, job: str, write: Callable[[str], None]) -> str:
        """Hand on what the job has said and says, until it ends; SUCCEEDED, FAILED or STOPPED."""
        shown, seen = 0, time.monotonic()
        while True:
            try:
                status = str(self._client.get_job_status(job))
                text = self._client.get_job_logs(job)
                seen = time.monotonic()
            except Exception as error:  # requests', aiohttp's and Ray's own: a network that is away for a moment
                if time.monotonic() - seen > PATIENCE_SECONDS:
                    raise BackendUnavailable(
                        f"{self.server} has not answered for {PATIENCE_SECONDS:g} seconds ({type(error).__name__}). "
                        "The study goes on there; follow it again with: fsg attach STUDY"
                    ) from None
            else:
                if len(text) > shown:
                    write(text[shown:])
                    shown = len(text)
                if status in ENDED:
                    return status
            time.sleep(POLL_SECONDS)

    def exit_code(self, job: str) -> int:
        """What the driver of a failed job exited with; 1 where it is not known."""
        with self._one_message():
            return self._client.get_job_info(job).driver_exit_code or 1

    def stop(self, job: str) -> None:
        """Ask the job to end, as Ctrl-C would. What its trials have reached stays."""
        with self._one_message():
            self._client.stop_job(job)

    @contextmanager
    def _one_message(self) -> Iterator[None]:
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise BackendUnavailable(
                f"{self.server}: the cluster refuses our token, or wants one. {TOKEN_HELP}"
            ) from None
        except ConnectionError:
            raise BackendUnavailable(
                f"{self.server}: no Ray dashboard answers there. It listens on its head alone: forward it with "
                "`ray dashboard ray_cluster.yaml` or `ssh -N -L 8265:127.0.0.1:8265 HEAD`, and use http://127.0.0.1:8265."
            ) from None
        except (RuntimeError, ValueError) as error:
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            raise BackendUnavailable(f"{self.server}: {lines[0] if lines else type(error).__name__}") from None
