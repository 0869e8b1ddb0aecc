"""What ablate, sweep, resume and those that look at studies take alike: options, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsg.cli.completion import complete_python
from fsg.driver.store import DEFAULT_TRACKING
from fsg.errors import FsgError
from fsg.files import user_path
from fsg.redaction import redact
from fsg.remote import is_url
from fsg.report.plain import plain_console

if TYPE_CHECKING:
    from rich.console import Console

    from fsg.execution.engine import Resources
    from fsg.report.progress import Output
    from fsg.study.spec import AblationSpec, SweepSpec


# Of an argument or option that is a path: ``~`` is the home folder, also in --option=~/x, which no shell expands.
FILE: dict[str, Any] = {"parser": user_path, "metavar": "FILE"}
FOLDER: dict[str, Any] = {"parser": user_path, "metavar": "FOLDER"}


def _storage(text: str) -> str:
    return text if is_url(text) else str(user_path(text))


Storage = Annotated[
    str,
    typer.Option(
        parser=_storage,
        metavar="FOLDER",
        help="Folder that holds the studies; or s3://bucket/folder: work in ./studies, with a copy there.",
    ),
]
Tracking = Annotated[
    str | None, typer.Option(help=f"MLflow store or server. Default: $MLFLOW_TRACKING_URI, else {DEFAULT_TRACKING}.")
]
UpgradeStore = Annotated[
    bool,
    typer.Option(
        "--upgrade-store",
        help="Convert an MLflow store that an older MLflow made, after a backup beside it; the older one cannot read it then.",
    ),
]
Cpus = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        help="CPU cores per trial; fractions allowed. Default: the study's resources.cpus, else 1.",
        show_default=False,
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        help="GPUs per trial; fractions allowed. auto: as many trials on a GPU as their measured memory allows. "
        "Default: the study's resources.gpus, else 0.",
        show_default=False,
    ),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        help="The kind of GPU that a trial must have, as Ray names it: A10G, L4, H100. Default: the study's, else any."
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0, help="GiB of memory to set aside for a trial. Default: the study's resources.memory, else none."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster: auto or HOST:PORT joins it from here; job:http://HOST:8265 or ray://HOST sends the "
        "working tree there and follows it."
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait-for-cluster",
        min=0,
        metavar="SECONDS",
        help="How long trials may wait for machines of a cluster while none runs, before the study gives up.",
    ),
]
WAIT = 1800.0
Exclude = Annotated[
    list[str],
    typer.Option(
        "--exclude", help="With --address job:..., what of the working tree is not sent, as in .gitignore; repeatable."
    ),
]
DISTANT = ("job:", "ray://")
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-changes", help="Go on though the file changed: trials that it no longer names are set aside."
    ),
]
Fuse = Annotated[
    str,
    typer.Option(
        metavar="auto|off|N",
        help="Train up to N trials of equal networks as one program. auto: 16, where 12 or more fit together and a "
        "measurement says that it pays. A study that has begun stays as it is; off: its trials are trained one by one.",
    ),
]
Set = Annotated[
    list[str],
    typer.Option("--set", help="Override one key of the study's base, as in gradient.lre=false; repeatable."),
]
Plugin = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        help="A Python file that registers parts, beside those the file names; repeatable.",
        autocompletion=complete_python,
    ),
]
AllowFailed = Annotated[
    bool, typer.Option("--allow-failed", help="Exit with 0 though trials failed. They are reported all the same.")
]
Notify = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND|URL",
        help="At the end, hand a JSON of the outcome to a command, on its standard input, or POST it to an address.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print arms, trials and an estimate of time; run nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only the report, once all trials have ended.")]
Json = Annotated[
    bool, typer.Option("--json", help="Nothing but one JSON object a line: each start and end of a trial.")
]
Document = Annotated[bool, typer.Option("--json", help="One JSON object; docs/json.md has its schema.")]


@dataclass(frozen=True)
class Asked:
    """What a trial is to have, as far as the command line says it, and the cluster."""

    cpus: float | None
    gpus: str | None
    accelerator: str | None
    memory: float | None
    address: str | None
    patience: float

    def of(self, spec: AblationSpec | SweepSpec) -> Resources:
        """The same with what the study says of the rest: what is typed holds for all arms."""
        from fsg.execution.engine import Resources

        typed = {"cpus": self.cpus, "gpus": self._gpus(), "accelerator": self.accelerator, "memory": self.memory}
        typed = {name: value for name, value in typed.items() if value is not None}
        study = spec.resources
        common = (
            {"cpus": 1.0, "gpus": 0.0, "accelerator": None, "memory": 0.0} | (study.said() if study else {}) | typed
        )
        arms = {name: share.said() | typed for name, share in (study.arms if study else {}).items()}
        return Resources(
            common["cpus"], common["gpus"], self.address, self.gpus == "auto", self.patience, common["accelerator"],
            common["memory"], arms,
        )  # fmt: skip

    def words(self) -> list[str]:
        """What was typed, for a command line elsewhere."""
        typed = {"--cpus-per-trial": self.cpus, "--gpus-per-trial": self.gpus, "--accelerator": self.accelerator}
        typed |= {
            "--memory-per-trial": self.memory,
            "--wait-for-cluster": self.patience if self.patience != WAIT else None,
        }
        words = [(option, value) for option, value in typed.items() if value is not None]
        return [
            word for option, value in words for word in (option, f"{value:g}" if isinstance(value, float) else value)
        ]

    def _gpus(self) -> float | None:
        from fsg.errors import ConfigError

        if self.gpus is None or self.gpus == "auto":
            return None if self.gpus is None else 1.0
        try:
            number = float(self.gpus)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e6:
            raise ConfigError(f'--gpus-per-trial is "{self.gpus}", expected a number from 0 on, or auto.')
        return number


def output_of(quiet: bool, json: bool) -> Output:
    """How much is said."""
    from fsg.errors import ConfigError

    if quiet and json:
        raise ConfigError("--quiet and --json are two ways to say less; give one of them.")
    return "json" if json else "quiet" if quiet else "text"


def tracking_of(uri: str | None, upgrade_store: bool, study: Path | None = None) -> str:
    """The MLflow store (``fsg.driver.store``), what it has to say going to stderr."""
    from fsg.driver.store import tracking_of

    return tracking_of(uri, upgrade_store, study, say_aside)


def say_aside(sentence: str) -> None:
    """On stderr: --json leaves nothing but JSON on stdout."""
    typer.echo(sentence, err=True)


def message_of(error: FsgError | OSError) -> str:
    """What is said of it, without a password: of the system's own, such as a full disk, the file and the reason."""
    if isinstance(error, FsgError):
        return redact(str(error))
    place = f"{error.filename}: " if error.filename else ""
    return redact(f"{place}{error.strerror or error}.")


def console_of(hushed: bool = False) -> Console:
    """Where a person reads; ``hushed``: nobody does."""
    return plain_console(quiet=hushed)
