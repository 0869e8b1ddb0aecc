"""The command line. Each command imports what it needs when it runs: ``fsg --help`` loads neither torch nor ray.

Exit codes: 0 done, 1 a run failed, 2 the user can mend it, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from fsg.cli import doctor, study, train
from fsg.errors import FsgError

app = typer.Typer(
    name="fsg",
    help="Hyperparameter sweeps and component ablations for binary networks trained with generated gradients.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(study.ablate)
app.command()(study.sweep)
app.command()(study.resume)
app.command()(study.compare)
app.command()(study.ui)
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line; what a user can mend is one message, never a traceback."""
    try:
        app()
    except FsgError as error:
        print(f"fsg: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("fsg: interrupted. What was finished is recorded.", file=sys.stderr)
        sys.exit(130)
