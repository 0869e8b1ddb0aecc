"""The tools of ``fsg mcp``: what ``studies``, ``compare`` and ``verdict`` print with ``--json``, learning curves, a file's plan.

A tool takes the name of a study in the storage, no path: what it reads is what somebody ran there. What our commands say of an
error is the tool's error. Proof: ``tests/cli/test_mcp_server.py``.
"""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from fsg import __version__
from fsg.cli.options import message_of
from fsg.cli.studies import overviews
from fsg.driver.planning import plan_file
from fsg.errors import FsgError, StudyError
from fsg.files import user_path
from fsg.record.folder import named_study
from fsg.redaction import redact
from fsg.report.arm_curves import require_metric
from fsg.report.schemas import (
    ComparisonDocument,
    CurvesDocument,
    OverviewPart,
    PlanDocument,
    StudiesDocument,
    VerdictDocument,
)
from fsg.report.study_report import make_report
from fsg.report.verdict import block_of
from fsg.report.verdict import verdict as judge
from fsg.study.spec import SweepSpec

P = ParamSpec("P")
R = TypeVar("R")

INSTRUCTIONS = (
    "Studies of binary neural networks: ablations (arms with paired seeds) and sweeps. Ask `verdict` whether an arm is better, "
    "not which mean is larger; it holds at every look, and 'not yet known' is an answer."
)
ABLATE = (sys.executable, "-m", "fsg.cli", "ablate")
_LONGEST = 1_000_000  # bytes of a line
TO_STOP = 120.0  # seconds for trials to save themselves, as a job on a cluster has

Study = Annotated[str, Field(description="The name of a study, as `studies` lists it.")]
Arm = Annotated[str, Field(description="The name of an arm, as `table` lists it.")]
File = Annotated[str, Field(description="The path of a study's YAML file.")]
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_RUNS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def make_server(storage: Path, allow_run: bool) -> MCPServer[None]:
    """The server of the studies in ``storage``: it writes nothing, and runs nothing unless ``allow_run``."""
    server: MCPServer[None] = MCPServer("fsg", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    one_by_one = threading.Lock()  # which plug-in of a name is in force is known to the process, not to a call

    def reads(tool: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(tool)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            with one_by_one, _said():
                return tool(*arguments, **named)

        return server.tool(annotations=_READS)(call)

    @reads
    def studies() -> StudiesDocument:
        """List the studies: what each asks, its state, how many of its trials are done, its size and age."""
        found = [OverviewPart.model_validate(one) for one in overviews(str(storage))]
        return StudiesDocument(storage=str(storage), studies=found)

    @reads
    def table(study: Study) -> ComparisonDocument:
        """The comparison table of a study: each arm's mean with its interval, its paired differences, its values by seed."""
        folder = named_study(study, storage)
        return ComparisonDocument.of(make_report(folder.spec(), folder.state()))

    @reads
    def curves(
        study: Study,
        arm: Arm,
        metric: Annotated[str | None, Field(description="Default: the metric of the study.")] = None,
    ) -> CurvesDocument:
        """The learning curves of an arm: a metric by epoch, for each seed, also of trials that have not finished."""
        folder = named_study(study, storage)
        spec, state = folder.spec(), folder.state()
        if isinstance(spec, SweepSpec):
            raise StudyError(f"{spec.name}: a sweep has no arms; its table has its best configurations.")
        block_of(spec, arm)
        metric = metric or spec.metric.name
        require_metric(state, metric)
        return CurvesDocument.of(spec.name, arm, metric, (one for one in state.trials.values() if one.arm == arm))

    @reads
    def verdict(
        study: Study,
        arm: Arm,
        against: Annotated[str | None, Field(description="Another arm. Default: the study's baseline.")] = None,
    ) -> VerdictDocument:
        """Whether an arm is better, worse, equivalent or not yet known, by how much, and how many more seeds would tell."""
        folder = named_study(study, storage)
        return VerdictDocument.of(judge(folder.spec(), folder.state(), arm, against))

    @reads
    def plan(file: File) -> PlanDocument:
        """What a study's file would run: arms, trials, what is over, hours where trials have shown them. Starts nothing."""
        return PlanDocument.of(plan_file(user_path(file), storage, plugins=allow_run))

    if allow_run:

        @server.tool(annotations=_RUNS)
        async def run(file: File, context: Context) -> ComparisonDocument:
            """Run an ablation's file to its end, or go on with it, and give its table. It takes as long as `plan` says.

            Progress is reported as trials end. A call that is cancelled stops the study, which the next call goes on with.
            """
            planned = await anyio.to_thread.run_sync(plan, file)
            async with _driving([*ABLATE, file, "--storage", str(storage), "--json", "--allow-failed"]) as events:
                async for event in events:
                    await context.report_progress(event["done"], event["trials"], "trials that have ended")
            return await anyio.to_thread.run_sync(table, planned.study)

    return server


@contextmanager
def _said() -> Iterator[None]:
    """Makes of what a command would say of an error the tool's error; of any other the client is told no word."""
    try:
        yield
    except (FsgError, OSError) as error:
        raise ToolError(message_of(error)) from None


@asynccontextmanager
async def _driving(command: list[str]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events that a command prints. ToolError with what it said where it fails; it is stopped where the reader is cancelled.

    A process of its own: what Ray and its workers print comes nowhere near the protocol on stdout.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=said)
        try:
            yield _events(process)
            await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.send_signal(signal.SIGINT)
                    with anyio.move_on_after(TO_STOP):
                        await process.wait()
                await process.aclose()
        if process.returncode != 0:
            said.seek(0)
            raise ToolError(redact(said.read().strip().removeprefix("fsg: ")) or f"exit code {process.returncode}")


async def _events(process: Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None, "it is a pipe"
    lines = BufferedByteReceiveStream(process.stdout)
    with suppress(anyio.IncompleteRead):  # the end
        while True:
            yield json.loads(await lines.receive_until(b"\n", _LONGEST))
