"""The command line. Each command imports what it needs when it runs: ``fsg --help`` loads neither torch nor ray.

Exit codes: 0 done, 1 a run failed, 2 the user can mend it, 130 interrupted; of a
verdict 3, 4 and 5 say which one it is.
"""

from __future__ import annotations

import select
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fsg import __version__
from fsg.cli import (
    bench,
    doctor,
    export,
    jobs,
    mcp,
    new,
    power,
    results,
    schema,
    shelving,
    status,
    studies,
    study,
    train,
    upgrade,
    verdict,
)
from fsg.cli.options import message_of
from fsg.errors import FsgError


class _Commands(TyperGroup):
    """Says what Ctrl-C left, and whose pipe is closed; typer alone would exit without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("fsg: interrupted. What was finished is recorded.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError as error:
            if _unread():
                raise
            raise FsgError(
                f"a process that this one works with has gone ({error}). What was finished is recorded: run it again."
            ) from error


def _unread() -> bool:
    """Whether nobody reads standard output any more, as after ``| head``: then nobody wants a word either."""
    try:
        place = sys.stdout.fileno()
    except OSError:  # it is no file
        return False
    asking = select.poll()
    asking.register(place, 0)
    return any(event & select.POLLERR for _, event in asking.poll(0))


app = typer.Typer(
    name="fsg",
    cls=_Commands,
    help="Hyperparameter sweeps and component ablations for binary networks trained with generated gradients.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fsg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which fsg this is.")
    ] = False,
) -> None:
    """What stands before the command."""


app.command()(train.train)
app.command()(new.init)
app.command()(new.new)
app.command()(study.ablate)
app.command()(study.sweep)
app.command()(study.resume)
app.command()(studies.studies)
app.command()(shelving.archive)
app.command()(shelving.rm)
app.command()(status.status)
app.command()(jobs.attach)
app.command()(results.compare)
app.command()(verdict.verdict)
app.command()(power.power)
app.command()(export.export)
app.command()(results.sync)
app.command()(upgrade.upgrade)
app.command()(results.ui)
app.command()(schema.schema)
app.command()(bench.bench)
app.command()(doctor.doctor)
app.command()(mcp.mcp)


def main() -> None:
    """Run the command line; what a user can mend is one message, never a traceback."""
    try:
        app()
    except (FsgError, OSError) as error:
        print(f"fsg: {message_of(error)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, FsgError) else 1)
